import { escapePointer } from '#core/json.ts'

// What a stranger's JSON Schema may hold, before it is compiled.

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'
/** Above it, uniqueItems on objects (a comparison of all pairs) would hold the event loop. */
const MAX_UNIQUE_ITEMS = 1000

/** JSON values of one schema with its references written out. */
const MAX_PARTS = 5000
const MAX_DEPTH = 32
/** Bytes of one schema as JSON text. */
const MAX_BYTES = 64 * 1024
/** Characters of one pattern: with its counted repetitions it must compile in milliseconds. */
const MAX_PATTERN_CHARS = 1000
const SCALARS = ['string', 'number', 'integer', 'boolean', 'null']

/** A stranger's schema that we do not run. `pointer` is the place inside the schema, `message` says both. */
export class SchemaRefused extends Error {
  override readonly name = 'SchemaRefused'
  readonly pointer: string
  readonly detail: string
  constructor(pointer: string, detail: string, cause?: unknown) {
    super(pointer === '' ? detail : `${pointer}: ${detail}`, cause === undefined ? undefined : { cause })
    this.pointer = pointer
    this.detail = detail
  }
}

/** What one check costs: multiplied with the size of a value. */
export interface SchemaSize {
  parts: number
  /** Keywords that read a whole string: minLength, maxLength. */
  scans: number
}

/** @throws SchemaRefused for what no schema of a stranger may hold; the place is a pointer into the schema */
export function checkSchema(schema: object, text: string): SchemaSize {
  if (Buffer.byteLength(text) > MAX_BYTES) throw new SchemaRefused('', `a schema has at most ${MAX_BYTES} bytes`)
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
  if (depth > MAX_DEPTH) {
    throw new SchemaRefused(pointer, `deeper than ${MAX_DEPTH} levels, or a schema that refers to itself`)
  }
  if (Array.isArray(node)) {
    for (const [i, entry] of node.entries()) walk(entry, `${pointer}/${i}`, depth + 1, state)
    return
  }
  const schema = node as Record<string, unknown>
  checkKeywords(schema, pointer)
  for (const [key, value] of Object.entries(schema)) {
    const at = `${pointer}/${escapePointer(key)}`
    if (key === 'minLength' || key === 'maxLength') state.size.scans++
    if (DATA.has(key)) grow(state, measure(value).values, at)
    else if (key === '$ref') walk(lookUp(state.root, String(value), at), at, depth + 1, state)
    else if (key === '$defs' || key === 'definitions')
      continue // counted where they are used
    else if (MAPS.has(key) && typeof value === 'object' && value !== null) {
      for (const [name, entry] of Object.entries(value)) walk(entry, `${at}/${escapePointer(name)}`, depth + 1, state)
    } else walk(value, at, depth + 1, state)
  }
}

function grow(state: Walk, by: number, pointer: string): void {
  state.size.parts += by
  if (state.size.parts > MAX_PARTS) {
    throw new SchemaRefused(pointer, `with its references written out it has over ${MAX_PARTS} parts`)
  }
}

function checkKeywords(schema: Record<string, unknown>, pointer: string): void {
  for (const keyword of REFUSED) {
    if (Object.hasOwn(schema, keyword)) throw new SchemaRefused(`${pointer}/${keyword}`, `${keyword} is not allowed`)
  }
  if (Object.hasOwn(schema, '$schema') && (pointer !== '' || schema.$schema !== DIALECT)) {
    throw new SchemaRefused(`${pointer}/$schema`, `the only dialect is ${DIALECT}, named at the top`)
  }
  if (schema.uniqueItems === true && !(Number(schema.maxItems) <= MAX_UNIQUE_ITEMS) && !hasScalarItems(schema)) {
    const detail = `uniqueItems needs items of one scalar type, or maxItems of at most ${MAX_UNIQUE_ITEMS}`
    throw new SchemaRefused(`${pointer}/uniqueItems`, detail)
  }
  for (const pattern of [schema.pattern, ...keysOf(schema.patternProperties)]) {
    if (typeof pattern !== 'string' || pattern.length <= MAX_PATTERN_CHARS) continue
    throw new SchemaRefused(pointer, `a pattern has at most ${MAX_PATTERN_CHARS} characters`)
  }
}

// Of these ajv keeps a table of what it has seen, instead of comparing all pairs.
function hasScalarItems({ items }: Record<string, unknown>): boolean {
  return typeof items === 'object' && items !== null && 'type' in items && SCALARS.includes(String(items.type))
}

function keysOf(value: unknown): string[] {
  return typeof value === 'object' && value !== null ? Object.keys(value) : []
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

/** How many values a JSON document holds, and how many characters its strings and keys. */
export function measure(value: unknown): { values: number; chars: number } {
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
