import type { Clock } from '#core/clock.ts'

interface Entry<V> {
  at: number
  value: Promise<V>
  /** Once it is there. */
  known?: { value: V }
}

/** How long what was looked up is believed: what changed on another host holds here after this time at the latest. */
export const BELIEVED_MS = 5000
// Of each kind; one more costs the one that was asked for longest ago.
const SIZE = 10_000

/** Look-ups of one kind, each believed for a short time; null is an absence. */
export class Lookups<V> {
  readonly #clock: Clock
  readonly #load: (name: string) => Promise<V>
  readonly #entries = new Map<string, Entry<V>>()
  // Invented names are kept too, and what is still being looked up; apart, so that no flood of them costs a known one.
  readonly #others = new Map<string, Entry<V>>()

  constructor(clock: Clock, load: (name: string) => Promise<V>) {
    this.#clock = clock
    this.#load = load
  }

  /** @param maxAgeMs counted from before the question was sent, so that a slow answer is not believed for longer */
  get(name: string, maxAgeMs = BELIEVED_MS): Promise<V> {
    const known = this.#others.get(name) ?? this.#entries.get(name)
    const now = this.#clock.monotonic()
    if (known && now - known.at < maxAgeMs) return known.value
    const value = this.#load(name)
    const entry: Entry<V> = { at: now, value }
    put(this.#others, name, entry)
    const current = () => this.#others.get(name) === entry
    value.then(
      (found) => {
        entry.known = { value: found }
        if (!current()) return
        if (found === null) this.#entries.delete(name)
        else {
          this.#others.delete(name)
          put(this.#entries, name, entry)
        }
      },
      () => {
        // A database that was away for a moment must not be remembered as an absence.
        if (current()) this.#others.delete(name)
      }
    )
    return value
  }

  /** Whether it was there when it was last asked for, however long ago that is. */
  has(name: string): boolean {
    return this.#entries.has(name)
  }

  forget(name: string): void {
    this.#entries.delete(name)
    this.#others.delete(name)
  }

  /** Forgets everything that `fits`, and what is still being looked up. */
  forgetWhere(fits: (value: V, name: string) => boolean): void {
    for (const map of [this.#entries, this.#others]) {
      for (const [name, { known }] of map) if (!known || fits(known.value, name)) this.forget(name)
    }
  }
}

function put<V>(map: Map<string, V>, name: string, value: V): void {
  map.delete(name) // to the end of the order
  const [oldest] = map.keys()
  if (map.size >= SIZE && oldest !== undefined) map.delete(oldest)
  map.set(name, value)
}
