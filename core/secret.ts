import { inspect } from 'node:util'

// Held weakly: a secret that nobody holds any more (a tenant's, long unused) needs no scrubbing and must not leak memory.
const live = new Set<WeakRef<Secret>>()
const forget = new FinalizationRegistry<WeakRef<Secret>>((ref) => live.delete(ref))

/** A value that prints as `[secret]` wherever it is printed; log lines that hold its text are scrubbed (core/log.ts). */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
    const ref = new WeakRef(this)
    live.add(ref)
    forget.register(this, ref)
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

/** Texts of all living secrets, for the log's scrubber. */
export function liveSecrets(): string[] {
  const values: string[] = []
  for (const ref of live) {
    const value = ref.deref()?.reveal()
    if (value) values.push(value)
  }
  return values
}
