import { inspect } from 'node:util'
import { guard, unguard } from '#core/scrub.ts'

// A secret that nobody holds any more needs no guard for ever: its text must not stay in any table of ours.
const released = new FinalizationRegistry<string>(unguard)
const lifelong = new Set<Secret>()

/** A value that prints as `[secret]` wherever it is printed; texts that leave the process are scrubbed of it (core/scrub.ts). */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
    if (value !== '') released.register(this, guard(value))
  }

  /** The text itself; call it where it is used (a connection, an HMAC), not earlier. */
  reveal(): string {
    return this.#value
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}

/**
 * Keeps the secrets in `holder`, at any depth, guarded as long as the process lives: a pool or a driver holds their text on
 * when nobody holds the Secret.
 */
export function guardForLife(holder: object): void {
  const seen = new Set<object>()
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return
    seen.add(value)
    if (value instanceof Secret) lifelong.add(value)
    else for (const inner of Object.values(value)) visit(inner)
  }
  visit(holder)
}
