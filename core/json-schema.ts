import { Ajv2020, type ErrorObject, type Options, type ValidateFunction } from 'ajv/dist/2020.js'
import { RE2JS } from 're2js'
import { escapePointer } from '#core/json.ts'
import { checkSchema, measure, SchemaRefused, type SchemaSize } from './json-schema/rules.ts'

export { SchemaRefused } from './json-schema/rules.ts'

// Schemas of skills and of gates run in our process, on values that the same strangers make: both are hostile input.
// Hence linear regular expressions (RE2), no remote reference, no recursion (it can cost 2^depth), and bounds on what
// one check may do.

// About a second each at worst: parts of the schema times values, keywords that read a whole string times its length,
// steps of the patterns' automata.
const MAX_COMPARISONS = 200_000_000
const MAX_SCANNED_CHARS = 200_000_000
const MAX_MATCH_STEPS = 50_000_000
/** Steps of all patterns of a schema together; compiling takes about 1.5 µs each, and a counted repetition repeats them. */
const MAX_PATTERN_STEPS = 10_000
const MAX_VIOLATIONS = 20
/** Text of the schemas that are kept compiled; a compiled one takes some ten times as much. */
const MAX_CACHED_CHARS = 4_000_000

/** Where a value does not fit (JSON pointer into the value), and why. */
export interface SchemaViolation {
  readonly pointer: string
  readonly detail: string
}

/** Holds a value to the schema; empty when it fits. */
export type SchemaCheck = (value: unknown) => SchemaViolation[]

/**
 * Compiles a JSON Schema (2020-12; `format` is a remark, as that draft says) that a stranger wrote. The same text is
 * compiled once, as long as it is kept.
 * @throws SchemaRefused
 */
export function compileSchema(schema: unknown): SchemaCheck {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw new SchemaRefused('', 'a schema is a JSON object')
  }
  const text = JSON.stringify(schema)
  const known = cache.get(text)
  const check = known ?? compile(schema, checkSchema(schema, text))
  cache.delete(text)
  cache.set(text, check) // to the end: used last
  if (!known) forgetOldest(text.length)
  return check
}

const cache = new Map<string, SchemaCheck>()
let cachedChars = 0

function forgetOldest(added: number): void {
  cachedChars += added
  for (const text of cache.keys()) {
    if (cachedChars <= MAX_CACHED_CHARS) return
    cache.delete(text)
    cachedChars -= text.length
  }
}

class CheckTooLong extends Error {
  override readonly name = 'CheckTooLong'
}
// Counters for all: compiling and checking are synchronous.
let matchable = 0
let compilable = 0

/** Ajv takes the engine as a function that also knows how to spell itself in generated code. */
const linearRegExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(pattern))
    const steps = compiled.programSize()
    compilable -= steps
    if (compilable < 0) throw new Error(`the patterns are too large: together over ${MAX_PATTERN_STEPS} steps`)
    const test = (text: string) => {
      matchable -= (text.length + 1) * steps
      if (matchable < 0) throw new CheckTooLong()
      return compiled.matcher(text).find()
    }
    // Ajv keys the compiled expressions of one instance by their text: without it the first one would stand for all.
    return { test, toString: () => pattern }
  },
  { code: 'linearRegExp' }
)

const OPTIONS: Options = {
  strict: true,
  strictTypes: false,
  strictRequired: false,
  strictTuples: false,
  validateFormats: false,
  addUsedSchema: false
}
// Holds a schema to its dialect. Only the dialect's own schema is compiled in it, once.
const dialect = new Ajv2020(OPTIONS)

function compile(schema: object, size: SchemaSize): SchemaCheck {
  if (dialect.validateSchema(schema) !== true) {
    const error = dialect.errors?.[0]
    throw new SchemaRefused(error?.instancePath ?? '', error?.message ?? 'is no JSON Schema')
  }
  // One instance per schema: a shared one would keep every stranger's schema for ever.
  const ajv = new Ajv2020({ ...OPTIONS, meta: false, validateSchema: false, code: { regExp: linearRegExp as never } })
  let validate: ValidateFunction
  compilable = MAX_PATTERN_STEPS
  try {
    // $schema was checked to be the dialect; an instance without its schema must not look for it.
    const { $schema: _dialect, ...rest } = schema as Record<string, unknown>
    validate = ajv.compile(rest)
  } catch (cause) {
    throw new SchemaRefused('', cause instanceof Error ? cause.message : String(cause), cause)
  }
  return (value) => run(validate, size, value)
}

function run(validate: ValidateFunction, size: SchemaSize, value: unknown): SchemaViolation[] {
  const { values, chars } = measure(value)
  const detail = `too large for its schema: ${values} values, ${size.parts} parts of the schema`
  if (values * size.parts > MAX_COMPARISONS || chars * size.scans > MAX_SCANNED_CHARS) return [{ pointer: '', detail }]
  matchable = MAX_MATCH_STEPS
  try {
    return validate(value) ? [] : (validate.errors ?? []).slice(0, MAX_VIOLATIONS).map(toViolation)
  } catch (error) {
    if (error instanceof CheckTooLong) return [{ pointer: '', detail }]
    throw error
  }
}

function toViolation({ instancePath, keyword, message, params }: ErrorObject): SchemaViolation {
  const extra: unknown = params.additionalProperty ?? params.unevaluatedProperty
  if (typeof extra === 'string') return { pointer: at(instancePath, extra), detail: 'is not a known property' }
  const missing: unknown = params.missingProperty
  if (typeof missing === 'string') return { pointer: at(instancePath, missing), detail: 'is required' }
  const allowed: unknown = params.allowedValues
  if (Array.isArray(allowed)) {
    return { pointer: instancePath, detail: `must be one of ${JSON.stringify(allowed).slice(0, 200)}` }
  }
  return { pointer: instancePath, detail: (message ?? keyword).slice(0, 300) }
}

function at(pointer: string, key: string): string {
  return `${pointer}/${escapePointer(key)}`
}
