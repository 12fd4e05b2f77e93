/** Deepest nesting of JSON that is accepted anywhere: recursive code behind us would run out of stack. */
export const MAX_JSON_DEPTH = 100

/** What we, or Postgres' jsonb, do not take: where it stands (JSON pointer) and why. */
export interface JsonFault {
  readonly pointer: string
  readonly detail: string
}

/** Finds nesting beyond MAX_JSON_DEPTH and keys that poison prototypes when merged. */
export function findUnsafe(value: unknown): JsonFault | null {
  return search(value, () => null)
}

/**
 * Finds what must not reach a text or jsonb column: whatever is unsafe, and U+0000 and lone surrogates, which Postgres
 * refuses (that would break the commit of a finished effect).
 */
export function findUnstorable(value: unknown): JsonFault | null {
  const detail = typeof value === 'string' ? unstorableText(value) : null
  return detail ? { pointer: '', detail } : search(value, unstorableText)
}

// Containers only, on a stack of our own (the depth that it looks for would overflow a recursive walk). The way to a
// container is kept as links and spelled out on failure: most documents have none.
interface Place {
  readonly value: object
  readonly depth: number
  readonly key: string
  readonly parent: Place | null
}

function search(root: unknown, faultOf: (text: string) => string | null): JsonFault | null {
  if (typeof root !== 'object' || root === null) return null
  const open: Place[] = [{ value: root, depth: 1, key: '', parent: null }]
  for (let place = open.pop(); place; place = open.pop()) {
    const at = place
    const fault = (key: string, detail: string) => ({ pointer: `${pointerTo(at)}/${escapePointer(key)}`, detail })
    if (at.depth > MAX_JSON_DEPTH) return { pointer: '', detail: `nested deeper than ${MAX_JSON_DEPTH} levels` }
    const isArray = Array.isArray(at.value)
    for (const key in at.value) {
      if (!Object.hasOwn(at.value, key)) continue
      if (!isArray) {
        if (key === '__proto__' || key === 'constructor') return fault(key, `the key ${key} is not allowed`)
        const detail = faultOf(key)
        if (detail) return { pointer: pointerTo(at), detail: `a key ${detail}` }
      }
      const child: unknown = Reflect.get(at.value, key)
      if (typeof child === 'string') {
        const detail = faultOf(child)
        if (detail) return fault(key, detail)
      } else if (typeof child === 'object' && child !== null) {
        open.push({ value: child, depth: at.depth + 1, key, parent: at })
      }
    }
  }
  return null
}

function pointerTo(place: Place): string {
  let pointer = ''
  for (let p: Place | null = place; p?.parent; p = p.parent) pointer = `/${escapePointer(p.key)}${pointer}`
  return pointer
}

function unstorableText(text: string): string | null {
  if (text.includes('\u0000')) return 'contains U+0000, which cannot be stored'
  return text.isWellFormed() ? null : 'contains a lone surrogate, which cannot be stored'
}

/**
 * Text of strangers (an error's message) made fit for any column and event: at most `max` characters, well formed, without
 * U+0000. A cut may fall into a surrogate pair, so it comes first.
 */
export function storableText(text: string, max: number): string {
  return text.slice(0, max).toWellFormed().replaceAll('\u0000', '\ufffd')
}

/** One segment of a JSON pointer (RFC 6901), without the slash. */
export function escapePointer(key: PropertyKey): string {
  return String(key).replaceAll('~', '~0').replaceAll('/', '~1')
}

/** How many values a JSON document holds, counted up to `limit`. */
export function countNodes(value: unknown, limit: number): number {
  const todo: unknown[] = [value]
  let nodes = 0
  while (todo.length > 0 && nodes <= limit) {
    const next = todo.pop()
    nodes += 1
    if (typeof next === 'object' && next !== null) for (const child of Object.values(next)) todo.push(child)
  }
  return nodes
}
