import { RequestInvalid } from '#core/errors.ts'
import { BodyMalformed } from '#core/http/errors.ts'
import { findUnsafe } from '#core/json.ts'

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
  const fault = findUnsafe(value)
  if (fault) throw new RequestInvalid([fault])
  return value
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
