import { createHash } from 'node:crypto'

/** Lower-case hex of the sha256. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** `sha256:<hex>`, the form of every digest that we store or show. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${sha256(bytes)}`
}

/**
 * JSON with sorted keys and no spaces (RFC 8785 for what our manifests hold: strings, booleans, safe integers, arrays,
 * objects), so that a digest is over the meaning and not over the author's line breaks.
 * @throws TypeError for anything that JSON does not have, and for fractions, whose text differs between languages
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number' && Number.isSafeInteger(value)) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') {
    const pairs = Object.entries(value)
      .filter(([, entry]) => entry !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${pairs.map(([key, entry]) => `${JSON.stringify(key)}:${canonicalJson(entry)}`).join(',')}}`
  }
  throw new TypeError(`a ${typeof value} has no canonical JSON here`)
}
