// Which call starts next, and in which cell: queues, the concurrency of each tenant, and the shares of schedule.ts.
import { SandboxError } from '../errors.ts'
import type { SandboxCall, SandboxStatus } from '../types.ts'
import type { CellProcess } from './cell-process.ts'
import type { Cells } from './cells.ts'
import { cancelled, type Job } from './job.ts'
import { type Lane, Lanes } from './lanes.ts'
import type { CellKind } from './launch.ts'
import { runnable } from './proc.ts'
import { type Account, FairShare } from './schedule.ts'
import type { Settings } from './settings.ts'

const MAX_NESTED = 64 // calls in one cell, nested ones included
const LOOKS = process.platform === 'linux'

// The first of each that waits. Suspects wait for a cell of their own: others must not wait behind them. Nor may what a
// running call waits for wait behind a call that is tried again, and that needs this very call's place.
const KINDS_OF_WAITING: ((job: Job) => boolean)[] = [
  (job) => !job.alone,
  (job) => !job.alone && job.call.nested === true,
  (job) => job.alone
]

export class Dispatcher {
  readonly #settings: Settings
  readonly #cells: Cells
  readonly #share: FairShare
  readonly #lanes: Lanes

  constructor(settings: Settings, cells: Cells) {
    this.#settings = settings
    this.#cells = cells
    this.#share = new FairShare(settings.cores, (account) => this.#onCpu(account))
    this.#lanes = new Lanes(this.#share)
  }

  get waiting(): number {
    return this.#lanes.waiting
  }

  /** @throws SandboxError SANDBOX_BUSY when as many calls of the tenant wait as may */
  checkRoom(call: SandboxCall): void {
    const { waiting } = this.#share.account(call.tenantId)
    // What running calls wait for goes first: a long queue of others must not fail them.
    if (waiting < this.#settings.queuePerTenant * (call.nested ? 2 : 1)) return
    const limit = call.concurrency ?? this.#settings.callsPerCell
    throw new SandboxError(
      'SANDBOX_BUSY',
      `${waiting} calls of this tenant wait already, as many as may, and ${limit} of them run at once: try again later`,
      { retryable: true, details: { waiting, limit } }
    )
  }

  /** Queues a call; it starts with the next pump(). */
  add(job: Job): void {
    this.#share.asked(this.#share.account(job.call.tenantId), this.#settings.clock.monotonic())
    const lane = this.#lanes.push(job, job.call.nested === true)
    job.onAbort(() => {
      const at = lane.queue.indexOf(job)
      if (at >= 0) this.#lanes.remove(lane, at)
      job.reject(cancelled())
    })
  }

  /** Queues a call again whose cell died. */
  again(job: Job): void {
    this.#lanes.push(job, true)
  }

  /** Takes out what waits, of one kind or at all. */
  drain(kind?: CellKind): Job[] {
    return this.#lanes.drain(kind)
  }

  /** A call that ran is over. */
  ended(tenantId: string, cpuMs: number): void {
    this.#share.finished(this.#share.account(tenantId), cpuMs, this.#settings.clock.monotonic())
  }

  /** Does a call of this cell's tenant and kind wait to be tried alone? */
  suspects(cell: CellProcess): boolean {
    return cell.tenantId !== null && this.#lanes.of(cell.tenantId, cell.kind).some((job) => job.alone)
  }

  /** Does any call wait that this cell is for? */
  awaits(cell: CellProcess): boolean {
    return cell.tenantId !== null && this.#lanes.of(cell.tenantId, cell.kind).some((job) => job.alone === cell.alone)
  }

  tenants(): SandboxStatus['share']['tenants'] {
    const now = this.#settings.clock.monotonic()
    return [...this.#share.accounts].map((account) => ({
      tenantId: account.tenantId,
      running: this.#running(account.tenantId),
      waiting: account.waiting,
      costMs: account.costMs ?? 0,
      heavy: account.costMs !== undefined && this.#share.heavy(account, now)
    }))
  }

  /** Starts what can be started: quick calls at once, tenants in turn; then the others, by the CPU they used. */
  pump(): void {
    const now = this.#settings.clock.monotonic()
    const heavy: Lane[] = []
    this.#serveWanting(now)
    for (const lane of [...this.#lanes.line]) {
      if (this.#share.heavy(lane.account, now)) heavy.push(lane)
      else while (this.#serve(lane, now));
    }
    while (heavy.length > 0) {
      let next = 0
      for (let i = 1; i < heavy.length; i++)
        if (this.#share.before((heavy[i] as Lane).account, (heavy[next] as Lane).account) < 0) next = i
      const lane = heavy[next] as Lane
      if (!this.#share.mayStart(lane.account, now) || !this.#serve(lane, now)) heavy.splice(next, 1)
    }
  }

  /** @param used CPU ms of each tenant's cells in the last `wallMs` */
  polled(used: ReadonlyMap<string, number>, wallMs: number): void {
    const now = this.#settings.clock.monotonic()
    let roomed = false
    for (const account of this.#share.accounts) {
      const cpuMs = used.get(account.tenantId)
      if (cpuMs === undefined) continue
      roomed = this.#share.measured(account, cpuMs, wallMs, now, this.#awake(account, cpuMs / wallMs, now)) || roomed
      this.#cells.setLow(account.tenantId, this.#share.greedy(account, now))
    }
    this.#share.prune(now, (account) => this.#cells.of(account.tenantId).some((cell) => cell.jobs.size > 0))
    let wanted = 0
    for (const lane of this.#lanes.line) if (lane.cellWantedAt !== undefined) wanted++
    if (wanted > 0) this.#cells.makeRoom(wanted, now)
    // What waits for a host call or a timer has left its slot without a word.
    if (roomed || this.#lanes.waiting > 0) this.pump()
  }

  /** A cell that became free is for whoever waits longest: tenants of quick calls would take it each time. */
  #serveWanting(now: number): void {
    const since = (lane: Lane) => lane.cellWantedAt ?? now
    const wanting = [...this.#lanes.line].filter((lane) => lane.cellWantedAt !== undefined)
    for (const lane of wanting.sort((one, other) => since(one) - since(other)))
      if (this.#share.mayStart(lane.account, now)) this.#serve(lane, now)
  }

  /** Starts one call of a lane, if there is a place. */
  #serve(lane: Lane, now: number): boolean {
    for (const may of KINDS_OF_WAITING) {
      const at = lane.queue.findIndex(may)
      const job = lane.queue[at]
      if (!job) continue
      const cell = job.settled ? undefined : this.#place(lane, job, now)
      if (!cell && !job.settled) continue
      this.#lanes.remove(lane, at)
      lane.cellWantedAt = undefined
      cell?.start(job)
      return true
    }
    return false
  }

  #place(lane: Lane, job: Job, now: number): CellProcess | undefined {
    const { callsPerCell } = this.#settings
    const { nested, sessionId, concurrency } = job.call
    if (!nested && this.#running(lane.tenantId) >= Math.max(1, concurrency ?? callsPerCell)) return undefined
    let mine = 0
    let found: CellProcess | undefined
    let leaving: CellProcess | undefined
    for (const cell of this.#cells.of(lane.tenantId)) {
      if (cell.kind !== lane.kind || cell.alone !== job.alone) continue
      // One on its way out waits for its callers, and these for this call: there may be no other cell until it has gone.
      if (nested && cell.draining && hasRoom(cell, job, callsPerCell)) leaving = cell
      if (cell.state !== 'ready' && cell.state !== 'starting') continue
      mine++
      if (cell.state !== 'ready' || !hasRoom(cell, job, callsPerCell)) continue
      if (!found || (cell.sessions.has(sessionId) && !found.sessions.has(sessionId))) found = cell
    }
    if (found || mine > 0) return found // one cell per tenant and kind: it may be full or starting
    if (leaving) return leaving
    const cell = this.#cells.bind(lane.tenantId, lane.kind, job.alone)
    lane.cellWantedAt = cell ? undefined : (lane.cellWantedAt ?? now)
    return cell?.state === 'ready' ? cell : undefined
  }

  /**
   * Calls in cells that may want CPU now: all that began since the cells were looked at, and of the others as many as
   * threads were awake. What a cell says of itself is no evidence: a call with a host call under way may still compute.
   */
  #onCpu(account: Account): number {
    let fresh = 0
    let known = 0
    for (const cell of this.#cells.of(account.tenantId))
      for (const job of cell.jobs.values()) {
        if (!LOOKS && job.hostFlying > 0) continue
        if (job.startedAt > account.seenAt) fresh++
        else known++
      }
    return fresh + Math.min(known, account.awake)
  }

  /** Threads of a tenant's cells that run or want to; undefined when it matters to nobody, or they use all they can. */
  #awake(account: Account, rate: number, now: number): number | undefined {
    if (!LOOKS || this.#lanes.waiting === 0 || !this.#share.heavy(account, now)) return undefined
    const cells = this.#cells.of(account.tenantId).filter((cell) => cell.jobs.size > 0)
    const calls = cells.reduce((sum, cell) => sum + cell.jobs.size, 0)
    if (calls === 0 || rate > calls * 0.8) return undefined
    let awake = 0
    for (const { pid } of cells) awake += runnable(pid) ?? Number.POSITIVE_INFINITY
    return awake
  }

  #running(tenantId: string): number {
    let sum = 0
    for (const cell of this.#cells.of(tenantId)) for (const job of cell.jobs.values()) if (!job.call.nested) sum++
    return sum
  }
}

function hasRoom(cell: CellProcess, job: Job, room: number): boolean {
  if (job.alone) return cell.jobs.size === 0
  if (cell.jobs.size < room) return true
  if (job.call.nested) return cell.jobs.size < MAX_NESTED
  let plain = 0
  for (const one of cell.jobs.values()) if (!one.call.nested) plain++
  return plain < room && cell.jobs.size < MAX_NESTED
}
