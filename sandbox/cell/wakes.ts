// What wakes a resting guest up: the answers of its host calls and its timers. One at a time, in the order in which they
// came true, or in the order of a recording. No isolate here, only bookkeeping.
import { MAX_TIMERS } from '../wire/frames.ts'
import type { Replay } from '../wire/messages.ts'

const MAX_DELAY_MS = 2 ** 31 - 1

interface Answer {
  ok: boolean
  text: string
}

/** n: the answer of host call n. -n: the n-th timer of the call. */
export type Wake = number

export class Wakes {
  readonly #possible: () => void
  /** A delay in ms is a timer that the recording holds back. */
  readonly #timers = new Map<number, NodeJS.Timeout | number>()
  readonly #asked = new Set<number>()
  readonly #answers = new Map<number, Answer>()
  /** What came true, in this order; an entry may have been taken or cleared since. */
  #due: Wake[] = []
  #replay: Replay | undefined
  #at = 0
  #lastAsked = 0
  #used = false

  /** @param possible something came true: when the guest is at rest, `next()` may be asked again */
  constructor(possible: () => void) {
    this.#possible = possible
  }

  begin(replay: Replay | undefined): void {
    this.#at = 0
    this.#replay = replay
  }

  /** Drops everything of the call that ended. */
  end(): void {
    if (!this.#used) return
    this.#used = false
    this.#lastAsked = 0
    for (const timer of this.#timers.values()) if (typeof timer !== 'number') clearTimeout(timer)
    this.#timers.clear()
    this.#asked.clear()
    this.#answers.clear()
    this.#due = []
  }

  /** Host call `n` is under way. */
  asked(n: number): void {
    this.#used = true
    this.#asked.add(n)
    this.#lastAsked = n
  }

  answered(n: number, ok: boolean, text: string): void {
    if (!this.#asked.delete(n)) return
    this.#answers.set(n, { ok, text })
    this.#came(n)
  }

  /** @returns false when it is none: the guest counts its timers, and here they are counted again, for one that got hold of the way out */
  setTimer(n: number, ms: number): boolean {
    if (!Number.isInteger(n) || n < 1 || n > MAX_TIMERS) return false
    this.#used = true
    this.clearTimer(n)
    if (this.#replay) this.#timers.set(n, ms)
    else this.#start(n, ms)
    return true
  }

  clearTimer(n: number): void {
    const timer = this.#timers.get(n)
    if (typeof timer === 'object') clearTimeout(timer)
    this.#timers.delete(n)
  }

  /**
   * For a guest at rest: its next wake, which is taken by this; undefined when it has to wait; a text that says what was
   * expected when it cannot follow the recording.
   */
  next(): Wake | string | undefined {
    const replay = this.#replay
    if (replay) {
      if (replay.hostCalls === undefined || this.#at < replay.wakes.length) return this.#recorded(replay.wakes)
      if (this.#lastAsked < replay.hostCalls) return `host call ${replay.hostCalls} is not made`
      this.#goOn()
    }
    for (;;) {
      const wake = this.#due.shift()
      if (wake === undefined || this.#take(wake)) return wake
    }
  }

  /** The answer that `next()` gave out; it is handed over once. */
  answer(n: number): Answer {
    const answer = this.#answers.get(n)
    this.#answers.delete(n)
    if (!answer) throw new Error(`no answer of host call ${n}`)
    return answer
  }

  #recorded(wakes: readonly Wake[]): Wake | string | undefined {
    const wake = wakes[this.#at]
    if (wake === undefined) return `the recording ends after ${wakes.length} wakes, the tool still waits${this.#open()}`
    if (this.#take(wake)) {
      this.#at++
      return wake
    }
    if (this.#asked.has(wake)) return undefined
    const expected = wake > 0 ? `the answer of host call ${wake}` : `timer ${-wake}`
    return `wake ${this.#at + 1} of ${wakes.length} is ${expected}, the tool waits${this.#open()}`
  }

  #take(wake: Wake): boolean {
    return wake > 0 ? this.#answers.has(wake) : this.#timers.delete(-wake)
  }

  #open(): string {
    const calls = [...this.#asked, ...this.#answers.keys()].sort((a, b) => a - b)
    const names = [...calls.map((n) => `host call ${n}`), ...[...this.#timers.keys()].map((n) => `timer ${n}`)]
    const more = names.length > 10 ? ', ...' : ''
    return names.length > 0 ? ` for ${names.slice(0, 10).join(', ')}${more}` : ' for nothing that could come'
  }

  /** The known part is over: from here on by the clock. */
  #goOn(): void {
    this.#replay = undefined
    for (const [n, ms] of this.#timers) if (typeof ms === 'number') this.#start(n, ms)
  }

  #start(n: number, ms: number): void {
    const due = () => this.#came(-n)
    this.#timers.set(n, setTimeout(due, ms >= 1 ? Math.min(ms, MAX_DELAY_MS) : 1))
  }

  #came(wake: Wake): void {
    this.#due.push(wake)
    this.#possible()
  }
}
