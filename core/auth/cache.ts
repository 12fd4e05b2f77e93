import type { Clock } from '#core/clock.ts'

interface Entry<V> {
  at: number
  value: Promise<V>
  /** Once it is there. */
  known?: { value: V }
}

/** How long what was looked up is believed: what changed on another host holds here after this time at the latest. */
export const BELIEVED_MS = 5000
// Invented names are kept too (as absent); the bound keeps a flood of them from growing the process.
const SIZE = 10_000

/** Look-ups of one kind, each believed for a short time. */
export class Lookups<V> {
  readonly #clock: Clock
  readonly #load: (name: string) => Promise<V>
  readonly #entries = new Map<string, Entry<V>>()

  constructor(clock: Clock, load: (name: string) => Promise<V>) {
    this.#clock = clock
    this.#load = load
  }

  /** @param maxAgeMs counted from before the question was sent, so that a slow answer is not believed for longer */
  get(name: string, maxAgeMs = BELIEVED_MS): Promise<V> {
    const known = this.#entries.get(name)
    const now = this.#clock.monotonic()
    if (known && now - known.at < maxAgeMs) return known.value
    if (this.#entries.size >= SIZE) this.#entries.clear()
    const value = this.#load(name)
    const entry: Entry<V> = { at: now, value }
    this.#entries.set(name, entry)
    value.then(
      (found) => {
        entry.known = { value: found }
      },
      () => {
        // A database that was away for a moment must not be remembered as an absence.
        if (this.#entries.get(name) === entry) this.#entries.delete(name)
      }
    )
    return value
  }

  forget(name: string): void {
    this.#entries.delete(name)
  }

  /** Forgets everything that `fits`, and what is still being looked up. */
  forgetWhere(fits: (value: V, name: string) => boolean): void {
    for (const [name, { known }] of this.#entries) {
      if (!known || fits(known.value, name)) this.#entries.delete(name)
    }
  }
}
