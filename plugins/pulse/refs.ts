import { escapePointer } from '#core/json.ts'
import type { ConfigProblem } from './errors.ts'
import { MAX_VALUE_BYTES } from './schema.ts'

/** Where a reference points: `input.a.b` or `steps.<id>.output.a.b`, taken apart. */
export interface Ref {
  readonly step: string | null
  readonly path: readonly string[]
  readonly text: string
}

/** A reference as it stands in a config: its own place there. */
export interface PlacedRef extends Ref {
  readonly pointer: string
}

/** True for `{"$ref": ...}`, whatever it holds. */
function isRef(value: unknown): value is { $ref: unknown } {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, '$ref')
}

/** @returns null when the text is no path of the two forms */
export function parseRef(text: string): Ref | null {
  const parts = text.split('.')
  if (parts.some((part) => part === '')) return null
  if (parts[0] === 'input') return { step: null, path: parts.slice(1), text }
  const step = parts[1]
  if (parts[0] === 'steps' && step !== undefined && parts[2] === 'output') return { step, path: parts.slice(3), text }
  return null
}

/** Every reference in `value`, and what is wrong with those that are none. `pointer` is the value's own place. */
export function findRefs(value: unknown, pointer: string): { refs: PlacedRef[]; problems: ConfigProblem[] } {
  const refs: PlacedRef[] = []
  const problems: ConfigProblem[] = []
  const todo = [{ value, pointer }]
  for (let at = todo.pop(); at; at = todo.pop()) {
    if (isRef(at.value)) {
      const text = at.value.$ref
      const alone = Object.keys(at.value).length === 1
      const ref = typeof text === 'string' && alone ? parseRef(text) : null
      if (ref) refs.push({ ...ref, pointer: at.pointer })
      else {
        problems.push({
          pointer: at.pointer,
          code: 'PULSE_REF_UNKNOWN',
          detail: `{"$ref"} must stand alone and hold "input.<path>" or "steps.<id>.output.<path>"`
        })
      }
    } else if (typeof at.value === 'object' && at.value !== null) {
      for (const [key, child] of Object.entries(at.value)) {
        todo.push({ value: child, pointer: `${at.pointer}/${escapePointer(key)}` })
      }
    }
  }
  return { refs, problems }
}

/** What references are resolved from. */
export interface Scope {
  readonly input: unknown
  /** The output of a done step. */
  output(step: string): unknown
}

/** A reference whose path the value at hand does not have. */
export class RefUnresolved extends Error {
  readonly ref: string

  constructor(ref: string, missing: string) {
    super(`{"$ref": ${JSON.stringify(ref)}} points at nothing: there is no ${JSON.stringify(missing)}`)
    this.name = 'RefUnresolved'
    this.ref = ref
  }
}

/** References that would put more into one value than it may hold. */
export class RefsTooLarge extends Error {
  constructor(maxBytes: number) {
    super(`with its references replaced the value is longer than ${maxBytes} bytes; refer to less`)
    this.name = 'RefsTooLarge'
  }
}

/**
 * The value with every reference replaced by what it points at. What is put in is counted as it is put in: a small config
 * could name one large value ten thousand times.
 * @throws RefUnresolved, RefsTooLarge
 */
export function resolveRefs(value: unknown, scope: Scope): unknown {
  const sizes = new Map<string, number>()
  let bytes = 0
  const resolve = (child: unknown): unknown => {
    if (isRef(child)) {
      const ref = typeof child.$ref === 'string' ? parseRef(child.$ref) : null
      if (!ref) throw new RefUnresolved(String(child.$ref), String(child.$ref))
      const found = follow(ref, ref.step === null ? scope.input : scope.output(ref.step))
      const size = sizes.get(ref.text) ?? (JSON.stringify(found) ?? '').length
      sizes.set(ref.text, size)
      bytes += size
      if (bytes > MAX_VALUE_BYTES) throw new RefsTooLarge(MAX_VALUE_BYTES)
      return found
    }
    if (Array.isArray(child)) return child.map(resolve)
    if (typeof child === 'object' && child !== null) {
      return Object.fromEntries(Object.entries(child).map(([key, one]) => [key, resolve(one)]))
    }
    return child
  }
  return resolve(value)
}

// Only own properties: "length" of a string or "constructor" of anything is no data.
function follow(ref: Ref, start: unknown): unknown {
  let value = start
  for (const key of ref.path) {
    const own = typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    if (!own || (Array.isArray(value) && !/^\d+$/.test(key))) throw new RefUnresolved(ref.text, key)
    value = (value as Record<string, unknown>)[key]
  }
  return value
}
