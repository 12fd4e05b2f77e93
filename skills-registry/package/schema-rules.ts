import { PACKAGE_LIMITS } from './limits.ts'

// What a stranger's JSON Schema may hold, before it is compiled.

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'
/** Above it, uniqueItems on objects (a comparison of all pairs) would hold the event loop. */
const MAX_UNIQUE_ITEMS = 1000

/** A schema of a tool that we will not compile. `pointer` is the place inside the schema. */
export class SchemaRefused extends Error {
  readonly pointer: string
  constructor(pointer: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'SchemaRefused'
    this.pointer = pointer
  }
}

interface SchemaSize {
  parts: number
  /** Keywords that read a whole string: minLength, maxLength. */
  scans: number
}

/** @throws SchemaRefused for what no schema of a stranger may hold; the place is a pointer into the schema */
export function checkSchema(schema: unknown): SchemaSize {
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
