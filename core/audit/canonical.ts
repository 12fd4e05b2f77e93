import { createHash } from 'node:crypto'

/**
 * JSON in the one spelling of RFC 8785: keys sorted by UTF-16 units, no spaces, numbers and strings as ECMAScript writes
 * them. What JSON leaves out (undefined, functions) is left out; a Date is its ISO text, a bigint its decimal text, a
 * Secret `[secret]`.
 */
export function canonicalJson(value: unknown): string {
  const text = JSON.stringify(value, (_key, entry) => (typeof entry === 'bigint' ? entry.toString() : entry))
  return text === undefined ? 'null' : spell(JSON.parse(text))
}

function spell(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spell).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const pairs = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${pairs.map(([key, entry]) => `${JSON.stringify(key)}:${spell(entry)}`).join(',')}}`
}

/** sha256 of the canonical JSON: the same for what means the same, and it tells nothing of a value with any entropy. */
export function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest()
}
