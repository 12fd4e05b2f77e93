import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { RE2JS } from 're2js'
import { PACKAGE_LIMITS } from './limits.ts'

// A skill's schemas run in our process, on values that the same skill makes: a schema is hostile input. Hence linear
// regular expressions (RE2), no remote reference, no recursion (it can cost 2^depth), and bounds on what one check may do.

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'
/** Above it, uniqueItems on objects (a comparison of all pairs) would hold the event loop. */
const MAX_UNIQUE_ITEMS = 1000

// What one check may do, each about a second at worst: parts of the schema times values, keywords that read a whole
// string times its length, characters seen by patterns.
const MAX_COMPARISONS = 200_000_000
const MAX_SCANNED_CHARS = 200_000_000
const MAX_MATCH_STEPS = 50_000_000

/** A schema of a tool that we will not compile. `pointer` is the place inside the schema. */
export class SchemaRefused extends Error {
  readonly pointer: string
  constructor(pointer: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'SchemaRefused'
    this.pointer = pointer
  }
}

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

/** How many values a JSON document holds, and how many characters its strings and keys. */
function measure(value: unknown): { values: number; chars: number } {
  const todo: unknown[] = [value]
  let values = 0
  let chars = 0
  while (todo.length > 0) {
    const next = todo.pop()
    values++
    if (typeof next === 'string') chars += next.length
    else if (Array.isArray(next)) for (const entry of next) todo.push(entry)
    else if (typeof next === 'object' && next !== null) {
      for (const [key, entry] of Object.entries(next)) {
        chars += key.length
        todo.push(entry)
      }
    }
  }
  return { values, chars }
}

function explain(error: NonNullable<ValidateFunction['errors']>[number] | undefined): string {
  const text = (error?.message ?? 'does not fit the schema').slice(0, 300)
  if (error?.keyword === 'additionalProperties') return `${text}: ${String(error.params.additionalProperty)}`
  if (error?.keyword === 'enum') return `${text}: ${JSON.stringify(error.params.allowedValues).slice(0, 200)}`
  return text
}

interface SchemaSize {
  parts: number
  /** Keywords that read a whole string: minLength, maxLength. */
  scans: number
}

/** @throws SchemaRefused for what no schema of a stranger may hold; the place is a pointer into the schema */
function checkSchema(schema: unknown): SchemaSize {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw new SchemaRefused('', 'a schema is a JSON object')
  }
  if (Buffer.byteLength(JSON.stringify(schema)) > PACKAGE_LIMITS.schemaBytes) {
    throw new SchemaRefused('', `a schema has at most ${PACKAGE_LIMITS.schemaBytes} bytes`)
  }
  const size = { parts: 0, scans: 0 }
  walk(schema, '', 0, { root: schema, size })
  return size
}

/** Keywords whose values are data of the author and hold no schema. */
const DATA = new Set(['const', 'enum', 'default', 'examples'])
const REFUSED = ['$id', '$anchor', '$dynamicRef', '$dynamicAnchor', '$recursiveRef', '$vocabulary', '$async', 'id']
const MAPS = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'])

interface Walk {
  root: object
  size: SchemaSize
}

function walk(node: unknown, pointer: string, depth: number, state: Walk): void {
  grow(state, 1, pointer)
  if (typeof node !== 'object' || node === null) return
  if (depth > PACKAGE_LIMITS.schemaDepth) {
    throw new SchemaRefused(
      pointer,
      `deeper than ${PACKAGE_LIMITS.schemaDepth} levels, or a schema that refers to itself`
    )
  }
  if (Array.isArray(node)) {
    for (const [i, entry] of node.entries()) walk(entry, `${pointer}/${i}`, depth + 1, state)
    return
  }
  const schema = node as Record<string, unknown>
  checkKeywords(schema, pointer)
  for (const [key, value] of Object.entries(schema)) {
    const at = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    if (key === 'minLength' || key === 'maxLength') state.size.scans++
    if (DATA.has(key)) grow(state, measure(value).values, at)
    else if (key === '$ref') walk(lookUp(state.root, String(value), at), at, depth + 1, state)
    else if (key === '$defs' || key === 'definitions')
      continue // counted where they are used
    else if (MAPS.has(key) && typeof value === 'object' && value !== null) {
      for (const [name, entry] of Object.entries(value)) walk(entry, `${at}/${name}`, depth + 1, state)
    } else walk(value, at, depth + 1, state)
  }
}

function grow(state: Walk, by: number, pointer: string): void {
  state.size.parts += by
  if (state.size.parts > PACKAGE_LIMITS.schemaParts) {
    throw new SchemaRefused(pointer, `with its references written out it has over ${PACKAGE_LIMITS.schemaParts} parts`)
  }
}

function checkKeywords(schema: Record<string, unknown>, pointer: string): void {
  for (const keyword of REFUSED) {
    if (Object.hasOwn(schema, keyword)) throw new SchemaRefused(`${pointer}/${keyword}`, `${keyword} is not allowed`)
  }
  if (Object.hasOwn(schema, '$schema') && (pointer !== '' || schema.$schema !== DIALECT)) {
    throw new SchemaRefused(`${pointer}/$schema`, `the only dialect is ${DIALECT}, named at the top`)
  }
  if (schema.uniqueItems === true && !(Number(schema.maxItems) <= MAX_UNIQUE_ITEMS)) {
    throw new SchemaRefused(`${pointer}/uniqueItems`, `uniqueItems needs maxItems of at most ${MAX_UNIQUE_ITEMS}`)
  }
}

/** The target of `#/a/b`, inside the same schema. */
function lookUp(root: object, ref: string, pointer: string): unknown {
  if (ref !== '#' && !ref.startsWith('#/')) {
    throw new SchemaRefused(
      pointer,
      `${JSON.stringify(ref.slice(0, 100))}: only references inside the schema are allowed`
    )
  }
  let target: unknown = root
  for (const part of ref.split('/').slice(1)) {
    const key = decodePart(part)
    target =
      typeof target === 'object' && target !== null && Object.hasOwn(target, key) ? Reflect.get(target, key) : undefined
  }
  if (target === undefined) throw new SchemaRefused(pointer, `${ref.slice(0, 100)} leads nowhere`)
  return target
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return '' // a lone % names nothing
  }
}
