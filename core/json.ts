/** Deepest nesting of JSON that is accepted anywhere. */
export const MAX_JSON_DEPTH = 100

/** What Postgres' jsonb, or we, cannot keep: where it stands (JSON pointer) and why. */
export interface Unstorable {
  readonly pointer: string
  readonly detail: string
}

/**
 * Finds what must not reach a jsonb column: U+0000 and lone surrogates (jsonb refuses them, which would break the
 * commit of a finished effect), keys that poison prototypes when merged, nesting beyond MAX_JSON_DEPTH.
 * Walks with its own stack, so depth cannot overflow ours.
 */
export function findUnstorable(value: unknown): Unstorable | null {
  const todo: { value: unknown; pointer: string; depth: number }[] = [{ value, pointer: '', depth: 0 }]
  for (let at = todo.pop(); at; at = todo.pop()) {
    if (at.depth > MAX_JSON_DEPTH) return { pointer: at.pointer, detail: `nested deeper than ${MAX_JSON_DEPTH}` }
    if (typeof at.value === 'string') {
      const detail = unstorableText(at.value)
      if (detail) return { pointer: at.pointer, detail }
    } else if (typeof at.value === 'object' && at.value !== null) {
      for (const [key, child] of Object.entries(at.value)) {
        const pointer = `${at.pointer}/${escapePointer(key)}`
        if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
          return { pointer, detail: `the key ${key} is not allowed` }
        }
        const detail = unstorableText(key)
        if (detail) return { pointer: at.pointer, detail: `a key ${detail}` }
        todo.push({ value: child, pointer, depth: at.depth + 1 })
      }
    }
  }
  return null
}

function unstorableText(text: string): string | null {
  if (text.includes('\u0000')) return 'contains U+0000, which cannot be stored'
  return text.isWellFormed() ? null : 'contains a lone surrogate, which cannot be stored'
}

/** One segment of a JSON pointer (RFC 6901). */
export function escapePointer(key: string | number): string {
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
