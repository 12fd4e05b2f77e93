import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import { RE2JS } from 're2js'
import { escapePointer } from './json.ts'

/** Largest JSON Schema a stranger may bring, as JSON text. */
export const MAX_SCHEMA_BYTES = 64 * 1024
/** Most subschemas that validating one value may visit after local $refs are followed: no billion laughs. */
const MAX_EXPANDED = 20_000

/** A violation: where in the value (JSON pointer), and what is wrong there. */
export interface SchemaViolation {
  readonly pointer: string
  readonly detail: string
}

export type SchemaCheck = (value: unknown) => SchemaViolation[]

/** A schema that strangers wrote and we do not run: `message` says why and where. */
export class SchemaRefused extends Error {}

/**
 * Compiles a JSON Schema (2020-12) written by a tenant or a skill author. Their schemas run on our main thread, so what
 * could hang it is refused or replaced: patterns run on RE2 (linear time), `uniqueItems` only over scalars (ajv compares
 * objects pairwise), `$ref` only within the document, and the schema's expanded size is capped.
 * @throws SchemaRefused
 */
export function compileSchema(schema: unknown): SchemaCheck {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw new SchemaRefused('a JSON Schema must be an object')
  }
  const text = JSON.stringify(schema)
  if (Buffer.byteLength(text) > MAX_SCHEMA_BYTES) {
    throw new SchemaRefused(`the schema has ${Buffer.byteLength(text)} bytes, ${MAX_SCHEMA_BYTES} are allowed`)
  }
  const held = cache.get(text)
  if (held) return held
  refuseDangerous(schema as JsonObject)
  const check = compile(schema as JsonObject)
  if (cache.size >= CACHED) cache.delete(cache.keys().next().value ?? '')
  cache.set(text, check)
  return check
}

const CACHED = 500
const cache = new Map<string, SchemaCheck>()

type JsonObject = Record<string, unknown>

function compile(schema: JsonObject): SchemaCheck {
  // One instance per schema: a shared one keeps every $id for ever, and two strangers' $ids would collide.
  const ajv = new Ajv2020({
    strict: false,
    allErrors: false,
    validateFormats: false,
    logger: false,
    code: { regExp: linearRegExp }
  })
  let validate: ValidateFunction
  try {
    validate = ajv.compile(schema)
  } catch (error) {
    throw new SchemaRefused(error instanceof Error ? error.message : String(error), { cause: error })
  }
  return (value) => (validate(value) ? [] : (validate.errors ?? []).map(toViolation))
}

const linearRegExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(pattern))
    return { test: (text: string) => compiled.matcher(text).find() }
  },
  { code: 'linearRegExp' }
)

function toViolation(error: ErrorObject): SchemaViolation {
  const extra = error.params.additionalProperty ?? error.params.unevaluatedProperty
  const missing = error.params.missingProperty
  if (typeof extra === 'string') {
    return { pointer: `${error.instancePath}/${escapePointer(extra)}`, detail: 'is not a known property' }
  }
  if (typeof missing === 'string') {
    return { pointer: `${error.instancePath}/${escapePointer(missing)}`, detail: 'is required' }
  }
  const allowed = error.params.allowedValues
  return {
    pointer: error.instancePath,
    detail: Array.isArray(allowed) ? `must be one of ${JSON.stringify(allowed)}` : (error.message ?? error.keyword)
  }
}

const SCALARS = ['string', 'number', 'integer', 'boolean', 'null']

function refuseDangerous(root: JsonObject): void {
  const expanded = new Map<unknown, number>()
  const path = new Set<unknown>()
  const size = (node: unknown): number => {
    if (typeof node !== 'object' || node === null) return 0
    const known = expanded.get(node)
    if (known !== undefined) return known
    if (path.has(node)) return 1 // recursion: bounded by the value's own depth
    path.add(node)
    if (!Array.isArray(node)) refuseKeywords(node as JsonObject)
    let total = 1
    for (const [key, child] of Object.entries(node)) {
      if (key === '$ref') total += size(resolveLocal(root, child))
      else if (key !== 'enum' && key !== 'const' && key !== 'default' && key !== 'examples') total += size(child)
      if (total > MAX_EXPANDED) throw new SchemaRefused(`the schema expands to more than ${MAX_EXPANDED} subschemas`)
    }
    path.delete(node)
    expanded.set(node, total)
    return total
  }
  size(root)
}

function refuseKeywords(node: JsonObject): void {
  for (const keyword of ['$dynamicRef', '$recursiveRef', '$anchor', '$dynamicAnchor', '$async']) {
    if (keyword in node) throw new SchemaRefused(`${keyword} is not supported`)
  }
  if (node.uniqueItems === true) {
    const items = node.items as JsonObject | undefined
    const types = typeof items?.type === 'string' ? [items.type] : Array.isArray(items?.type) ? items.type : []
    if (types.length !== 1 || !SCALARS.includes(String(types[0]))) {
      throw new SchemaRefused('uniqueItems needs items of one scalar type')
    }
  }
}

function resolveLocal(root: JsonObject, ref: unknown): unknown {
  if (typeof ref !== 'string' || !ref.startsWith('#')) {
    throw new SchemaRefused(
      `$ref ${JSON.stringify(ref)} leaves the document; only local references (#/...) are allowed`
    )
  }
  let node: unknown = root
  for (const segment of ref.slice(1).split('/').slice(1)) {
    const key = decodeURIComponent(segment).replaceAll('~1', '/').replaceAll('~0', '~')
    node = typeof node === 'object' && node !== null && Object.hasOwn(node, key) ? (node as JsonObject)[key] : undefined
    if (node === undefined) throw new SchemaRefused(`$ref ${JSON.stringify(ref)} points at nothing`)
  }
  return node
}
