import { setImmediate as turn } from 'node:timers/promises'
import type { Clock, Timer } from '#core/clock.ts'

interface Waiting {
  at: number
  order: number
  run: () => void
}

/** A clock that moves only by `advance`. Timers fire in the order of their time; `now` is theirs while they run. */
export class FakeClock implements Clock {
  #now: number
  readonly #start: number
  #order = 0
  readonly #waiting = new Set<Waiting>()

  /** @param start ms since 1970 */
  constructor(start = Date.UTC(2026, 0, 1)) {
    this.#now = start
    this.#start = start
  }

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now - this.#start
  }

  /** How many timers are set: a test waits for this before it advances. */
  get pending(): number {
    return this.#waiting.size
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const abort = () => {
        timer.cancel()
        reject(signal?.reason)
      }
      const timer = this.after(ms, () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      })
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  after(ms: number, run: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, ms), order: this.#order++, run }
    this.#waiting.add(entry)
    return { cancel: () => void this.#waiting.delete(entry) }
  }

  every(ms: number, run: () => void): Timer {
    // A period of 0 would keep `advance` at one moment for ever.
    const period = Math.max(1, ms)
    let next: Timer
    const again = () => {
      next = this.after(period, again)
      run()
    }
    next = this.after(period, again)
    return { cancel: () => next.cancel() }
  }

  /** Moves time by `ms`, firing what falls due; between two timers, promises that were waiting get their turn. */
  async advance(ms: number): Promise<void> {
    await turn() // who is about to set a timer sets it at the old time
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#waiting]
        .filter((entry) => entry.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0]
      if (!due) break
      this.#waiting.delete(due)
      this.#now = due.at
      due.run()
      await turn()
    }
    this.#now = end
    await turn()
  }
}
