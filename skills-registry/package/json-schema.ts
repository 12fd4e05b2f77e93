import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { RE2JS } from 're2js'
import { checkSchema, measure, SchemaRefused } from './schema-rules.ts'

// A skill's schemas run in our process, on values that the same skill makes: a schema is hostile input. Hence linear
// regular expressions (RE2), no remote reference, no recursion (it can cost 2^depth), and bounds on what one check may do.

// What one check may do, each about a second at worst: parts of the schema times values, keywords that read a whole
// string times its length, characters seen by patterns.
const MAX_COMPARISONS = 200_000_000
const MAX_SCANNED_CHARS = 200_000_000
const MAX_MATCH_STEPS = 50_000_000

interface SchemaViolation {
  pointer: string
  detail: string
}

/** The first violation of a value, or undefined when it fits. */
export type Validator = (value: unknown) => SchemaViolation | undefined

class CheckTooLong extends Error {}
// One counter for all: a check is synchronous.
let matchable = 0

/** Ajv takes the engine as a function that also knows how to spell itself in generated code. */
const linearRegExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(pattern)
    const steps = compiled.programSize()
    const test = (text: string) => {
      matchable -= (text.length + 1) * steps
      if (matchable < 0) throw new CheckTooLong()
      return compiled.matcher(text).find()
    }
    // Ajv keys the compiled expressions of one instance, its own included, by their text: without it the first one wins.
    return { test, toString: () => pattern }
  },
  { code: 'linearRegExp' }
)

/**
 * Compiles a tool's JSON Schema (2020-12; `format` is a remark, as that draft says).
 * @throws SchemaRefused
 */
export function compileSchema(schema: unknown): Validator {
  const size = checkSchema(schema)
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictRequired: false,
    strictTuples: false,
    validateFormats: false,
    validateSchema: true,
    addUsedSchema: false,
    code: { regExp: linearRegExp as never }
  })
  let validate: ValidateFunction
  matchable = Number.POSITIVE_INFINITY // the author's schema against the dialect's own: bounded by its size
  try {
    validate = ajv.compile(schema as object)
  } catch (cause) {
    throw new SchemaRefused('', cause instanceof Error ? cause.message : String(cause), cause)
  }
  return (value) => {
    const { values, chars } = measure(value)
    const tooLong = {
      pointer: '',
      detail: `too large for its schema: ${values} values, ${size.parts} parts of the schema`
    }
    if (values * size.parts > MAX_COMPARISONS || chars * size.scans > MAX_SCANNED_CHARS) return tooLong
    matchable = MAX_MATCH_STEPS
    try {
      if (validate(value)) return undefined
    } catch (error) {
      if (error instanceof CheckTooLong) return tooLong
      throw error
    }
    const error = validate.errors?.[0]
    return { pointer: error?.instancePath ?? '', detail: explain(error) }
  }
}

function explain(error: NonNullable<ValidateFunction['errors']>[number] | undefined): string {
  const text = (error?.message ?? 'does not fit the schema').slice(0, 300)
  if (error?.keyword === 'additionalProperties') return `${text}: ${String(error.params.additionalProperty)}`
  if (error?.keyword === 'enum') return `${text}: ${JSON.stringify(error.params.allowedValues).slice(0, 200)}`
  return text
}
