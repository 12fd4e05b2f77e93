import { createHash } from 'node:crypto'

/**
 * JSON in the one spelling of RFC 8785: keys sorted by UTF-16 units, no spaces, numbers and strings as ECMAScript writes
 * them. What JSON leaves out (undefined, functions) is left out; a Date is its ISO text, a bigint its decimal text, a
 * Secret `[secret]`.
 */
export function canonicalJson(value: unknown): string {
  return spell(value) ?? 'null'
}

function spell(given: unknown): string | undefined {
  const value = hasToJson(given) ? given.toJSON() : given
  if (typeof value === 'bigint') return `"${value}"`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const pairs: string[] = []
  for (const key of Object.keys(value).sort()) {
    const text = spell(value[key as keyof typeof value])
    if (text !== undefined) pairs.push(`${JSON.stringify(key)}:${text}`)
  }
  return `{${pairs.join(',')}}`
}

function hasToJson(value: unknown): value is { toJSON(): unknown } {
  return typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function'
}

/** sha256 of the canonical JSON: the same for what means the same, and it tells nothing of a value with any entropy. */
export function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest()
}
