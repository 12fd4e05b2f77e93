import { SandboxError } from '../errors.ts'
import type { SandboxCall, SandboxClock, SandboxResult, SandboxUsage } from '../types.ts'
import { MAX_TIMERS } from '../wire/frames.ts'
import type { CallHead, Replay } from '../wire/messages.ts'
import { Journal } from './journal.ts'
import type { Meter, MeterMark } from './meter.ts'

const NO_WAKES: number[] = []
Object.freeze(NO_WAKES)

/** One call from run() to its promise; it may be tried on two cells. */
export class Job {
  readonly call: SandboxCall
  readonly promise: Promise<SandboxResult>
  /** Cells that this job was started on. */
  attempts = 0
  /** Host calls that were answered here, each n once, whatever the attempts. */
  hostCalls = 0
  /** The highest n of them. */
  lastHostCall = 0
  /** Lines that onLog got; a second attempt says them again. */
  logsPassed = 0
  // Of the running attempt: n of the last host call, those not yet answered, lines and bytes of its log.
  asked = 0
  hostFlying = 0
  logLines = 0
  logBytes = 0
  /** What woke the guest up in this attempt, as far as its cell has told. */
  wakes = NO_WAKES
  /** What a cell that must be killed for it said about its CPU time. */
  claimedMs = 0
  /** Tried again after a crash that nobody can be blamed for: it runs alone in its cell. */
  alone = false
  timedOut = false
  settled = false
  startedAt = 0
  #journal: Journal | undefined
  #replay: Replay | undefined
  #clock: SandboxClock | undefined
  #meter: Meter | undefined
  #mark: MeterMark | undefined
  #resolve: (result: SandboxResult) => void = () => undefined
  #reject: (error: SandboxError) => void = () => undefined
  readonly #timers: { cancel(): void }[] = []
  #abort: (() => void) | undefined

  constructor(call: SandboxCall) {
    this.call = call
    if (call.replay) this.#replay = { wakes: call.replay.wakes }
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** A cell takes it. The second one repeats what is known of the first, up to its last host call. */
  begin(clock: SandboxClock, meter: Meter): void {
    this.#clock = clock
    this.#meter = meter
    this.#mark = meter.mark
    this.startedAt = clock.monotonic()
    if (++this.attempts === 1) return
    if (!this.call.replay) this.#replay = { wakes: this.wakes, hostCalls: this.lastHostCall }
    this.wakes = NO_WAKES
    this.asked = 0
    this.hostFlying = 0
    this.logLines = 0
    this.logBytes = 0
  }

  /** Its cell was told what may wake the guest up. */
  get replays(): boolean {
    return this.#replay !== undefined
  }

  /** Of its host calls; what it holds counts from the first one on. */
  get journal(): Journal {
    this.#journal ??= new Journal()
    return this.#journal
  }

  /** Nothing of it would happen twice. */
  get repeatable(): boolean {
    return this.attempts < 2 && (this.#journal === undefined || this.#journal.whole)
  }

  /** @throws Error when there are more than a guest can cause */
  woken(wakes: readonly number[]): void {
    if (this.wakes.length + wakes.length > this.call.limits.hostCalls + MAX_TIMERS) throw new Error('too many wakes')
    if (this.wakes === NO_WAKES) this.wakes = [...wakes]
    else this.wakes.push(...wakes)
  }

  /** For a call that its cell did not report. `share` of the CPU time that no other call accounts for is its own. */
  estimate(share: number, killed: boolean): SandboxUsage | undefined {
    if (!this.#clock || !this.#meter) return undefined
    const wallMs = this.#clock.monotonic() - this.startedAt
    const used = Math.max(this.#meter.unaccounted(this.#mark) * share, this.claimedMs)
    // One call is one thread; the rest of the process's time was the machinery's.
    const cpuMs = Math.round(Math.min(used, wallMs) * 1000) / 1000
    const { hostCalls, wakes } = this
    return { cpuMs, wallMs, hostCalls, generation: 0, nth: 0, wakes, replayable: false, killed }
  }

  /** What each unfinished call of its cell bears when nobody is to blame. */
  get evenShare(): number {
    return 1 / Math.max(1, this.#meter?.open ?? 1)
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
      data: call.data ?? {},
      ...(this.#replay && { replay: this.#replay })
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

  /** @param usage what its cell reported; without it the error's own, or an estimate */
  reject(error: SandboxError, usage?: SandboxUsage): void {
    error.usage ??= usage ?? this.estimate(this.evenShare, false)
    if (this.#settle()) this.#reject(error)
  }

  #settle(): boolean {
    if (this.settled) return false
    this.settled = true
    this.#journal?.drop()
    if (this.#abort) this.call.signal?.removeEventListener('abort', this.#abort)
    return true
  }
}

export function cancelled(): SandboxError {
  return new SandboxError('SANDBOX_CANCELLED', 'the call was cancelled')
}
