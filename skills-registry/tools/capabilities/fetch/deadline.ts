import type { Clock } from '#core/clock.ts'
import { CapabilityError } from '../../capability.ts'

/** The time of one ctx.fetch with all its hops. Its signal fires when that is over, or when the tool call ends. */
export class Deadline {
  readonly signal: AbortSignal
  readonly #stop = new AbortController()
  readonly #cancel: () => void

  constructor(clock: Clock, ms: number, callSignal: AbortSignal) {
    this.signal = AbortSignal.any([this.#stop.signal, callSignal])
    const late = new CapabilityError('FETCH_TIMEOUT', `the answer was not complete after ${ms} ms`)
    const timer = clock.after(ms, () => this.#stop.abort(late))
    this.#cancel = () => timer.cancel()
  }

  /** Waits no longer for it than the deadline: not everything that is waited for knows a signal. */
  async within<T>(work: Promise<T>): Promise<T> {
    this.signal.throwIfAborted()
    const { promise: ended, reject } = Promise.withResolvers<never>()
    const abort = () => reject(this.signal.reason)
    this.signal.addEventListener('abort', abort, { once: true })
    try {
      return await Promise.race([work, ended])
    } finally {
      this.signal.removeEventListener('abort', abort)
    }
  }

  end(): void {
    this.#cancel()
  }
}
