// One cell as the supervisor sees it: a process that may be hostile as a whole. Nothing it sends is trusted.
import type { ChildProcess } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { type Frame, FrameDecoder, Kind, MAX_FROM_CELL } from '../wire/frames.ts'
import type { CellOwner, Death } from './cell-owner.ts'
import { CellWriter } from './cell-writer.ts'
import { answerHostCall } from './host-call.ts'
import { cancelled, type Job } from './job.ts'
import type { CellKind } from './launch.ts'
import { Meter } from './meter.ts'
import { Isolates, settle } from './outcome.ts'
import { cellPid, hasChildren, killCell, killGroup, rssMb } from './proc.ts'
import { type Answer, readAnswer, readHostCall, readLog } from './read.ts'

const START_MS = 10_000
const MAX_LOG_LINES = 1100 // the guest stops at 1000; more comes only from a cell that was taken over
const MAX_LOG_BYTES = 512 * 1024
const MAX_FLYING = 64
const MAX_STRAYS = 1000
const MAX_STDERR_BYTES = 1024 * 1024
const REAP_MS = 1000
const FAMILY_POLLS = 4 // a look at all its threads: every 200 ms
const RESTLESS_MS = 1000 // of CPU without a call to use it for

export class CellProcess {
  readonly kind: CellKind
  readonly jobs = new Map<number, Job>()
  readonly sessions = new Set<string>()
  /** Whose calls it ran, written down where they start: proof for status(), apart from `tenantId`, which decides. */
  readonly tenants = new Set<string>()
  readonly exited: Promise<void>
  tenantId: string | null = null
  alone = false
  runs = 0
  rss = 0
  idleSince: number
  state: 'starting' | 'ready' | 'retiring' | 'dead' = 'starting'
  readonly #owner: CellOwner
  readonly #child: ChildProcess
  readonly #socket: Duplex
  readonly #decoder = new FrameDecoder(MAX_FROM_CELL)
  readonly #writer: CellWriter
  readonly #isolates: Isolates
  readonly #meter = new Meter()
  readonly #starting: { cancel(): void }
  #pid: number
  #strays = 0
  #polls = 0
  /** CPU of the process when it was first seen without a call. */
  #idleFromMs: number | undefined
  #stderr = ''
  #stderrBytes = 0
  #death: Omit<Death, 'signal' | 'stderr'> | undefined

  constructor(owner: CellOwner, kind: CellKind, child: ChildProcess) {
    this.#owner = owner
    this.#isolates = new Isolates(() => owner.nextGeneration())
    this.kind = kind
    this.#child = child
    this.#pid = child.pid ?? 0
    this.#socket = child.stdio[3] as Duplex
    this.#writer = new CellWriter(this.#socket, () => this.kill('unread'))
    this.idleSince = owner.clock.monotonic()
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#socket.on('error', () => this.kill('crash'))
    this.#socket.on('close', () => this.kill('crash'))
    child.stderr?.on('data', (chunk: Buffer) => this.#complaint(chunk))
    this.exited = new Promise((resolve) => {
      // 'error' instead of 'exit': it could not be started at all.
      child.once('error', (error) => {
        this.#stderr += error.message
        this.#dead(null, resolve)
      })
      child.once('exit', (_code, signal) => this.#dead(signal ?? this.#relayed(), resolve))
    })
    this.#starting = owner.clock.after(START_MS, () => this.kill('start'))
    this.#hold(false)
  }

  get pid(): number {
    return this.#pid
  }

  /** It holds more skill sources than is good for it: time for a fresh one. */
  get full(): boolean {
    return this.#writer.full
  }

  /** Takes no new calls, and goes when its last one is over; not yet being killed. */
  get draining(): boolean {
    return this.state === 'retiring' && !this.#death && this.jobs.size > 0
  }

  /** Blank until now; from here on this tenant's, for life. */
  bind(tenantId: string): void {
    if (this.tenantId !== null && this.tenantId !== tenantId) throw new Error('a cell has one tenant')
    this.tenantId = tenantId
    if (this.state === 'starting') this.#hold(true) // a call waits for it
  }

  start(job: Job): void {
    const { clock, memoryMb } = this.#owner
    const { call } = job
    const id = this.#owner.nextJobId()
    if (this.jobs.size === 0) this.#hold(true)
    this.jobs.set(id, job)
    this.sessions.add(call.sessionId)
    this.tenants.add(call.tenantId)
    this.runs++
    this.#meter.open++
    job.begin(clock, this.#meter)
    this.#idleFromMs = undefined
    if (!this.#death) this.#writer.load(call.skill)
    const memory = Math.min(Math.max(8, Math.ceil(call.limits.memoryMb)), memoryMb / 2)
    this.#send(Kind.call, id, job.head(memory), call.input)
    job.after(clock, call.limits.wallMs, () => {
      job.timedOut = true
      this.#stop(id, job)
    })
    job.onAbort(() => {
      this.#meter.read(this.#pid)
      job.reject(cancelled())
      this.#stop(id, job)
    })
  }

  #stop(id: number, job: Job): void {
    const { clock, graceMs } = this.#owner
    this.#send(Kind.cancel, id, { timedOut: job.timedOut })
    job.after(clock, graceMs, () => this.kill(job.timedOut ? 'wallMs' : 'cancel', job))
  }

  endSession(sessionId: string): void {
    if (this.sessions.delete(sessionId)) this.#send(Kind.endSession, 0, { sessionId })
  }

  /** Reads CPU time and resident memory, and kills the cell above the limit. */
  poll(): void {
    this.#meter.read(this.#pid)
    this.rss = rssMb(this.#pid) ?? this.rss
    if (this.rss > this.#owner.memoryMb) this.kill('memory', undefined, 'SANDBOX_MEMORY')
    // The cell starts no processes. One that native code forked would be in no measure of memory and CPU.
    if (this.state !== 'starting' && this.#polls++ % FAMILY_POLLS === 0 && hasChildren(this.#pid)) this.kill('forked')
    if (this.jobs.size > 0 || this.state !== 'ready') return
    // Whoever computes without a call was taken over: no share and no bill holds it.
    const usedMs = this.#meter.mark?.processMs ?? 0
    this.#idleFromMs ??= usedMs
    if (usedMs - this.#idleFromMs > RESTLESS_MS) this.kill('restless')
  }

  /** SIGKILL: nothing inside can delay it. The jobs are handed back when the process is gone. */
  kill(reason: string, blame?: Job, code: Death['code'] = 'SANDBOX_KILLED'): void {
    if (this.#death || this.state === 'dead') return
    this.#death = { reason, killed: reason !== 'crash', blame, code }
    this.state = 'retiring'
    this.#meter.read(this.#pid)
    this.#hold(true)
    const outer = this.#child.pid
    if (outer === undefined) return
    killCell(outer, this.#owner.namespaces)
    this.#owner.clock.after(REAP_MS, () => {
      if (this.state !== 'dead') killGroup(outer)
    })
  }

  #dead(killedBy: string | null, resolve: () => void): void {
    if (this.state === 'dead') return
    this.state = 'dead'
    this.#starting.cancel()
    this.#socket.destroy()
    const jobs = [...this.jobs.values()]
    this.jobs.clear()
    for (const job of jobs) job.stopTimers()
    const why = this.#death ?? { reason: 'crash', killed: false, blame: undefined, code: 'SANDBOX_KILLED' as const }
    // The group, too: a wrapper that died alone must not leave its child behind.
    if (this.#child.pid !== undefined) killGroup(this.#child.pid)
    this.#owner.gone(
      this,
      jobs.filter((job) => !job.settled),
      { ...why, signal: killedBy, stderr: this.#stderr }
    )
    resolve()
  }

  // util-linux 2.38: unshare cannot hand on a SIGKILL of its child, it complains and exits with 1.
  #relayed(): string | null {
    return this.#stderr.includes('sigprocmask unblock failed') ? 'SIGKILL' : null
  }

  // An idle cell must not keep the engine's process alive.
  #hold(on: boolean): void {
    const socket = this.#socket as Duplex & { ref?(): void; unref?(): void }
    const stderr = this.#child.stderr as { ref?(): void; unref?(): void } | null
    for (const part of [this.#child, socket]) {
      if (on) part.ref?.()
      else part.unref?.()
    }
    stderr?.unref?.()
  }

  #complaint(chunk: Buffer): void {
    this.#stderrBytes += chunk.length
    if (this.#stderr.length < 4096) this.#stderr += chunk.toString('latin1').slice(0, 4096)
    if (this.#stderrBytes > MAX_STDERR_BYTES) this.kill('protocol')
  }

  #send(kind: number, id: number, head?: unknown, tail?: string): void {
    if (this.state === 'dead' || this.#death) return
    this.#writer.send(kind, id, head, tail)
  }

  #read(chunk: Buffer): void {
    if (this.#death) return
    try {
      this.#decoder.push(chunk, (frame) => this.#take(frame))
    } catch {
      this.kill('protocol')
    }
  }

  // Throws on anything malformed; #read then kills the cell.
  #take(frame: Frame): void {
    if (frame.kind === Kind.ready && this.state === 'starting') {
      this.#starting.cancel()
      this.#pid = cellPid(this.#pid, this.#owner.namespaces) ?? this.#pid
      this.state = 'ready'
      this.#meter.read(this.#pid) // what its start took is nobody's
      this.#owner.ready(this)
      if (this.jobs.size === 0) this.#hold(false)
      return
    }
    const job = this.jobs.get(frame.id)
    if (!job) {
      // Late words about a call that is over are normal, a flood of them is not.
      if (++this.#strays > MAX_STRAYS) this.kill('protocol')
      return
    }
    if (frame.kind === Kind.log) this.#log(job, frame)
    else if (frame.kind === Kind.hostCall) this.#hostCall(job, frame)
    else if (frame.kind === Kind.result || frame.kind === Kind.error)
      this.#answer(job, frame, readAnswer(frame, job.asked))
    else throw new Error('unknown frame')
  }

  #log(job: Job, frame: Frame): void {
    const entry = readLog(frame)
    job.logBytes += frame.tail.length
    if (++job.logLines > MAX_LOG_LINES || job.logBytes > MAX_LOG_BYTES) this.kill('flood', job)
    else if (!job.settled && job.logLines > job.logsPassed) {
      job.logsPassed = job.logLines
      try {
        job.call.onLog?.(entry)
      } catch (err) {
        // The caller's mistake, not the cell's: it must not end here as a broken frame.
        this.#owner.log?.warn({ err }, 'onLog of a sandbox call failed')
      }
    }
  }

  #hostCall(job: Job, frame: Frame): void {
    if (job.settled) return
    if (++job.hostFlying > MAX_FLYING) {
      this.kill('flood', job)
      return
    }
    const question = readHostCall(frame, job.asked)
    // The guest refuses these itself. Refused here one by one, they could come as fast as a cell can write.
    if (question.n > Math.ceil(job.call.limits.hostCalls)) {
      this.kill('flood', job)
      return
    }
    job.asked = question.n
    if (question.wakes) job.woken(question.wakes)
    const answer = answerHostCall(job, question)
    if (answer === undefined) this.#stop(frame.id, job)
    void answer?.then(({ n, ok, text }) => {
      // The call may be over, or run elsewhere: its isolate must not hear of this any more.
      if (this.jobs.get(frame.id) !== job) return
      job.hostFlying--
      this.#send(Kind.hostResult, frame.id, { n, ok }, text)
    })
  }

  #answer(job: Job, frame: Frame, answer: Answer): void {
    const { failure } = answer
    if (failure?.code === 'SANDBOX_DIVERGED' && !job.replays) throw new Error('nothing to diverge from')
    if (answer.wakes) job.woken(answer.wakes)
    if (failure?.stuck) {
      job.claimedMs = answer.cpuMs
      const code = failure.code === 'SANDBOX_MEMORY' ? failure.code : 'SANDBOX_KILLED'
      this.kill(failure.limit ?? 'stuck', job, code)
      return
    }
    const wallMs = this.#owner.clock.monotonic() - job.startedAt
    settle(job, answer, this.#isolates.ended(answer.isolate), wallMs)
    this.#meter.ended(Math.min(answer.cpuMs, wallMs))
    this.jobs.delete(frame.id)
    job.stopTimers()
    if (this.jobs.size === 0) {
      this.idleSince = this.#owner.clock.monotonic()
      this.#hold(false)
    }
    this.#owner.freed(this)
  }
}
