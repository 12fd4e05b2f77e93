import { RequestInvalid } from '#core/errors.ts'
import { BodyMalformed } from '#core/http/errors.ts'

/** Deeper JSON is refused: recursive code behind us (schemas, references) would run out of stack. */
const maxJsonDepth = 100

/**
 * Parses JSON from outside: HTTP bodies and WebSocket frames.
 * @throws BodyMalformed with the position, RequestInvalid for nesting above 100 levels and for keys named `__proto__`
 *   or `constructor` (a later merge into an object would change its prototype)
 */
export function parseJson(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw malformed(text, error)
  }
  inspect(value)
  return value
}

/** One step of an RFC 6901 pointer. */
export function pointerStep(key: PropertyKey): string {
  return `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`
}

// Iterative: the depth that it looks for would overflow a recursive walk. The path is kept as links, built on failure.
interface Place {
  value: object
  depth: number
  key: string
  parent: Place | null
}

function inspect(root: unknown): void {
  if (typeof root !== 'object' || root === null) return
  const open: Place[] = [{ value: root, depth: 1, key: '', parent: null }]
  for (let place = open.pop(); place; place = open.pop()) {
    if (place.depth > maxJsonDepth) {
      throw new RequestInvalid([{ pointer: '', detail: `nested deeper than ${maxJsonDepth} levels` }])
    }
    const isArray = Array.isArray(place.value)
    for (const [key, child] of Object.entries(place.value)) {
      if (!isArray && (key === '__proto__' || key === 'constructor')) {
        throw new RequestInvalid([
          { pointer: pointerTo(place) + pointerStep(key), detail: `the key ${key} is refused` }
        ])
      }
      if (typeof child === 'object' && child !== null) {
        open.push({ value: child, depth: place.depth + 1, key, parent: place })
      }
    }
  }
}

function pointerTo(place: Place): string {
  let pointer = ''
  for (let p: Place | null = place; p?.parent; p = p.parent) pointer = pointerStep(p.key) + pointer
  return pointer
}

function malformed(text: string, error: unknown) {
  const message = error instanceof Error ? error.message : String(error)
  const told = / at position (\d+)/.exec(message)
  const why = message.replace(/ (in JSON )?at position .*$/s, '').replace(/, (\.\.\.)?".*$/s, '')
  return new BodyMalformed(told ? Number(told[1]) : positionOf(text, message), why)
}

// V8 tells no position for "Unexpected token": the shortest prefix that fails in the same way ends with that token.
function positionOf(text: string, message: string): number {
  if (!message.startsWith('Unexpected token')) return text.length
  let low = 1
  let high = text.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (failsByToken(text.slice(0, middle))) high = middle
    else low = middle + 1
  }
  return low - 1
}

function failsByToken(text: string): boolean {
  try {
    JSON.parse(text)
    return false
  } catch (error) {
    return error instanceof Error && error.message.startsWith('Unexpected token')
  }
}
