import { SandboxError } from '../errors.ts'
import type { SandboxCall, SandboxClock, SandboxResult } from '../types.ts'
import type { CallHead } from '../wire/messages.ts'

/** One call from run() to its promise; it may be tried on two cells. */
export class Job {
  readonly call: SandboxCall
  readonly promise: Promise<SandboxResult>
  /** Cells that this job was started on. */
  attempts = 0
  hostCalls = 0
  hostFlying = 0
  logLines = 0
  logBytes = 0
  /** Tried again after a crash that nobody can be blamed for: it runs alone in its cell. */
  alone = false
  timedOut = false
  settled = false
  startedAt = 0
  #resolve: (result: SandboxResult) => void = () => undefined
  #reject: (error: SandboxError) => void = () => undefined
  readonly #timers: { cancel(): void }[] = []
  #abort: (() => void) | undefined

  constructor(call: SandboxCall) {
    this.call = call
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  head(memoryMb: number): CallHead {
    const { call } = this
    return {
      sessionId: call.sessionId,
      digest: call.skill.digest,
      export: call.export,
      cpuMs: call.limits.cpuMs,
      wallMs: call.limits.wallMs,
      memoryMb,
      hostCalls: call.limits.hostCalls,
      session: call.session,
      time: call.time,
      seed: call.seed,
      capabilities: call.capabilities,
      data: call.data ?? {}
    }
  }

  after(clock: SandboxClock, ms: number, run: () => void): void {
    this.#timers.push(clock.after(ms, run))
  }

  /** Calls `run` (instead of an earlier one) when the caller's signal fires, never after the job settled. */
  onAbort(run: () => void): void {
    const { signal } = this.call
    if (!signal) return
    if (this.#abort) signal.removeEventListener('abort', this.#abort)
    this.#abort = run
    signal.addEventListener('abort', run, { once: true })
  }

  stopTimers(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel()
  }

  resolve(result: SandboxResult): void {
    if (this.#settle()) this.#resolve(result)
  }

  reject(error: SandboxError): void {
    if (this.#settle()) this.#reject(error)
  }

  #settle(): boolean {
    if (this.settled) return false
    this.settled = true
    if (this.#abort) this.call.signal?.removeEventListener('abort', this.#abort)
    return true
  }
}

export function cancelled(): SandboxError {
  return new SandboxError('SANDBOX_CANCELLED', 'the call was cancelled')
}
