import { SandboxError } from '../errors.ts'
import type { SandboxCall, SandboxOptions, SandboxResult, SandboxStatus } from '../types.ts'
import { CellProcess, type Death } from './cell-process.ts'
import { checkCall } from './check-call.ts'
import { type Detected, detect } from './detect.ts'
import { buildImage, type Image } from './image.ts'
import { cancelled, Job } from './job.ts'
import { bare, type CellKind, launch } from './launch.ts'
import { afterDeath, blamed } from './verdict.ts'

const POLL_MS = 50
const MAX_START_FAILURES = 3
const FAT = 0.7
const RESPAWN_MS = 1000

/** The calls of one tenant for one kind of cell. */
interface Lane {
  tenantId: string
  kind: CellKind
  queue: Job[]
}

/**
 * Runs skill code in child processes ("cells"), one tenant per cell. Knows nothing of sessions' meaning, tenants' plans or
 * the network: it gets source text and JSON, and gives JSON back.
 */
export class Sandbox {
  readonly #options: Required<Omit<SandboxOptions, 'log' | 'isolation' | 'imageDir'>> &
    Pick<SandboxOptions, 'log' | 'isolation' | 'imageDir'>
  readonly #cells = new Set<CellProcess>()
  readonly #lanes = new Map<string, Lane>()
  readonly #kindsUsed = new Set<CellKind>()
  readonly #counts = { spawned: 0, kills: 0, deaths: 0, retries: 0, recycled: 0, evicted: 0, shared: 0 }
  #image: Image | undefined
  #detected: Detected | undefined
  #detecting: Promise<void> | undefined
  #poll: { cancel(): void } | undefined
  #lastJobId = 0
  #lastGeneration = 0
  #startFailures = 0
  #closed = false

  constructor(options: SandboxOptions) {
    this.#options = {
      require: 'best',
      maxCells: 16,
      spareCells: 1,
      callsPerCell: 16,
      queuePerTenant: 256,
      idleMs: 60_000,
      recycleAfter: 20_000,
      cellMemoryMb: 512,
      graceMs: 250,
      ...options
    }
  }

  /**
   * Builds the cell image and finds out which isolation this machine allows. Called by run() too.
   * @throws SandboxError SANDBOX_ISOLATION_REQUIRED with require 'strict' where the jail cannot be built
   */
  ready(): Promise<void> {
    this.#detecting ??= this.#detect()
    return this.#detecting
  }

  /** Starts blank cells of a kind before the first call needs one. */
  async warm(kind: CellKind): Promise<void> {
    await this.ready()
    this.#kindsUsed.add(kind)
    this.#refill()
  }

  /**
   * Runs one exported function of a skill.
   * @returns its result as JSON text with what it used
   * @throws SandboxError, see its `code`; `retryable` says whether the same call may be sent again
   */
  async run(call: SandboxCall): Promise<SandboxResult> {
    if (this.#closed) throw closed()
    checkCall(call)
    if (this.#detected === undefined) await this.ready()
    if (this.#closed) throw closed()
    if (call.signal?.aborted) throw cancelled()
    const lane = this.#lane(call.tenantId, call.skill.verified ? 'jit' : 'jitless')
    if (lane.queue.length >= this.#options.queuePerTenant)
      throw new SandboxError('SANDBOX_BUSY', `${lane.queue.length} calls of this tenant wait already`, {
        retryable: true
      })
    const job = new Job(call)
    job.onAbort(() => {
      const at = lane.queue.indexOf(job)
      if (at >= 0) lane.queue.splice(at, 1)
      job.reject(cancelled())
    })
    lane.queue.push(job)
    this.#pump()
    return job.promise
  }

  /** Drops the isolates of a session. Running calls of it go on. */
  endSession(tenantId: string, sessionId: string): void {
    for (const cell of this.#cells) if (cell.tenantId === tenantId) cell.endSession(sessionId)
  }

  /** What isolation is active (empty until ready()), the living cells, and the counts since the start. */
  status(): SandboxStatus {
    const { isolation, missing } = this.#detected ?? { isolation: bare, missing: [] }
    return {
      isolation: {
        jail: isolation.jail !== null,
        namespaces: isolation.namespaces ? ['user', 'net', 'pid', 'mnt', 'ipc', 'uts'] : [],
        noNewPrivs: isolation.setpriv,
        uid: isolation.uid,
        limits: isolation.prlimit ? ['core', 'nofile', 'data (jitless)'] : [],
        permission: isolation.permission,
        rssPoll: process.platform === 'linux',
        missing
      },
      detected: this.#detected !== undefined,
      cells: [...this.#cells].map((cell) => ({
        pid: cell.pid,
        kind: cell.kind,
        tenantId: cell.tenantId,
        calls: cell.jobs.size,
        runs: cell.runs,
        rssMb: Math.round(cell.rss)
      })),
      waiting: [...this.#lanes.values()].reduce((sum, lane) => sum + lane.queue.length, 0),
      counts: { ...this.#counts, shared: this.#counts.shared + [...this.#cells].filter(isShared).length }
    }
  }

  /** Fails what waits or runs with SANDBOX_CLOSED, kills every cell and resolves when the last process is gone. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#detecting?.catch(() => undefined)
    for (const lane of this.#lanes.values()) for (const job of lane.queue.splice(0)) job.reject(closed())
    const cells = [...this.#cells]
    for (const cell of cells) {
      for (const job of cell.jobs.values()) job.reject(closed())
      cell.kill('close')
    }
    await Promise.all(cells.map((cell) => cell.exited))
    this.#poll?.cancel()
    this.#image?.remove()
    this.#image = undefined
  }

  async #detect(): Promise<void> {
    this.#image?.remove()
    const image = buildImage(this.#options.imageDir)
    this.#image = image
    const detected = await detect(image, this.#options.isolation ?? {}, this.#options.clock)
    if (this.#options.require === 'strict' && detected.isolation.jail === null) {
      image.remove()
      throw new SandboxError('SANDBOX_ISOLATION_REQUIRED', 'the sandbox jail cannot be built on this machine', {
        details: { missing: detected.missing }
      })
    }
    this.#detected = detected
    const { missing, ...layers } = this.status().isolation
    const reasons = missing.map(({ layer, reason }) => `${layer}: ${reason}`)
    this.#options.log?.info({ ...layers, missing: reasons }, 'sandbox isolation')
  }

  #lane(tenantId: string, kind: CellKind): Lane {
    const key = `${kind}:${tenantId}`
    const lane = this.#lanes.get(key) ?? { tenantId, kind, queue: [] }
    this.#lanes.set(key, lane)
    return lane
  }

  /** Starts what can be started, tenants in turn. */
  #pump(): void {
    if (this.#closed) return
    for (const [key, lane] of [...this.#lanes]) {
      const before = lane.queue.length
      // Suspects wait for a cell of their own; the others must not wait behind them.
      for (const alone of [false, true]) this.#serve(lane, alone)
      // Whoever got a place goes to the end of the line: the next free cell is another tenant's.
      if (lane.queue.length < before || before === 0) this.#lanes.delete(key)
      if (lane.queue.length > 0) this.#lanes.set(key, lane)
    }
  }

  #serve(lane: Lane, alone: boolean): void {
    for (;;) {
      const at = lane.queue.findIndex((job) => job.alone === alone)
      const job = lane.queue[at]
      const cell = job && !job.settled ? this.#place(lane, job) : undefined
      if (!job || (!cell && !job.settled)) return
      lane.queue.splice(at, 1)
      cell?.start(job)
    }
  }

  #place(lane: Lane, job: Job): CellProcess | undefined {
    const mine = [...this.#cells].filter(
      (cell) =>
        cell.tenantId === lane.tenantId &&
        cell.kind === lane.kind &&
        cell.alone === job.alone &&
        (cell.state === 'ready' || cell.state === 'starting')
    )
    const room = job.alone ? 1 : this.#options.callsPerCell
    const free = mine.filter((cell) => cell.state === 'ready' && cell.jobs.size < room)
    const found = free.find((cell) => cell.sessions.has(job.call.sessionId)) ?? free[0]
    if (found) return found
    if (mine.length > 0) return undefined // one cell per tenant and kind: it is full or starting
    const cell = this.#blank(lane.kind)
    if (!cell) return undefined
    cell.bind(lane.tenantId)
    cell.alone = job.alone
    this.#kindsUsed.add(lane.kind)
    // After this tick: the call goes first, the spare is spawned behind it.
    setImmediate(() => this.#refill())
    return cell.state === 'ready' ? cell : undefined
  }

  #blank(kind: CellKind): CellProcess | undefined {
    const spares = [...this.#cells].filter((cell) => cell.tenantId === null && cell.kind === kind)
    const spare = spares.find((cell) => cell.state === 'ready') ?? spares.find((cell) => cell.state === 'starting')
    if (spare) return spare
    if (this.#alive() >= this.#options.maxCells && !this.#evict()) return undefined
    return this.#spawn(kind)
  }

  #alive(): number {
    let alive = 0
    for (const cell of this.#cells) if (cell.state !== 'dead' && cell.state !== 'retiring') alive++
    return alive
  }

  /** Makes room: a blank cell of the other kind first, then the one that is idle the longest. */
  #evict(): boolean {
    const idle = [...this.#cells].filter((cell) => cell.jobs.size === 0 && cell.state === 'ready')
    idle.sort((a, b) => Number(a.tenantId !== null) - Number(b.tenantId !== null) || a.idleSince - b.idleSince)
    const victim = idle[0]
    if (!victim) return false
    this.#counts.evicted++
    victim.kill('evicted')
    return true
  }

  #refill(): void {
    if (this.#closed) return
    for (const kind of this.#kindsUsed) {
      let blank = 0
      for (const cell of this.#cells) if (cell.tenantId === null && cell.kind === kind) blank++
      while (blank++ < this.#options.spareCells && this.#alive() < this.#options.maxCells) this.#spawn(kind)
    }
  }

  #spawn(kind: CellKind): CellProcess | undefined {
    if (!this.#image || !this.#detected) return undefined
    const { clock, graceMs, cellMemoryMb } = this.#options
    const child = launch(this.#image, this.#detected.isolation, kind)
    this.#counts.spawned++
    const cell = new CellProcess(
      {
        clock,
        graceMs,
        log: this.#options.log,
        memoryMb: cellMemoryMb,
        namespaces: this.#detected.isolation.namespaces,
        nextJobId: () => {
          this.#lastJobId = (this.#lastJobId + 1) >>> 0 // u32 in the frames
          return this.#lastJobId
        },
        nextGeneration: () => ++this.#lastGeneration,
        ready: () => {
          this.#startFailures = 0
          this.#pump()
        },
        freed: (freed) => this.#freed(freed),
        gone: (gone, jobs, why) => this.#gone(gone, jobs, why)
      },
      kind,
      child
    )
    this.#cells.add(cell)
    this.#poll ??= clock.every(POLL_MS, () => this.#check())
    return cell
  }

  #freed(cell: CellProcess): void {
    // Fat with what earlier calls left: better replaced now than killed under the next one.
    const fat = cell.jobs.size === 0 && cell.rss > FAT * this.#options.cellMemoryMb
    if ((cell.runs >= this.#options.recycleAfter || cell.full || fat) && cell.state === 'ready') {
      cell.state = 'retiring'
      this.#counts.recycled++
    }
    if (cell.jobs.size === 0) {
      const lane = this.#lanes.get(`${cell.kind}:${cell.tenantId}`)
      if (cell.state === 'retiring' || (cell.alone && !lane?.queue.some((job) => job.alone))) cell.kill('recycled')
    }
    this.#pump()
  }

  #check(): void {
    const now = this.#options.clock.monotonic()
    for (const cell of this.#cells) {
      cell.poll()
      if (
        cell.tenantId !== null &&
        cell.jobs.size === 0 &&
        cell.state === 'ready' &&
        now - cell.idleSince > this.#options.idleMs
      )
        cell.kill('idle')
    }
  }

  #gone(cell: CellProcess, jobs: Job[], why: Death): void {
    this.#cells.delete(cell)
    if (why.killed) this.#counts.kills++
    else this.#counts.deaths++
    if (isShared(cell)) this.#counts.shared++
    if (this.#cells.size === 0) {
      this.#poll?.cancel()
      this.#poll = undefined
    }
    if (this.#closed) {
      for (const job of jobs) job.reject(closed())
      return
    }
    const { reason, signal, stderr } = why
    if (jobs.length > 0 || cell.runs === 0)
      this.#options.log?.warn(
        { reason, signal, stderr, tenantId: cell.tenantId, calls: jobs.length },
        'sandbox cell ended'
      )
    const unused = cell.runs === 0 && !['evicted', 'idle', 'close', 'memory'].includes(reason)
    if (unused && ++this.#startFailures >= MAX_START_FAILURES) this.#startFailed(cell)
    const refill = () => this.#refill()
    const blame = blamed(jobs, why, cell.runs)
    for (const job of jobs) {
      const error = afterDeath(job, blame, why)
      if (error) job.reject(error)
      else this.#retry(job, cell.kind, blame === undefined)
    }
    this.#pump()
    // A cell that cannot start must not be respawned in a busy loop.
    if (unused) this.#options.clock.after(RESPAWN_MS, refill)
    else setImmediate(refill)
  }

  #retry(job: Job, kind: CellKind, alone: boolean): void {
    this.#counts.retries++
    // Nobody is known to be guilty, so each of them is tried alone: the guilty one then takes nobody along.
    job.alone = alone
    this.#lane(job.call.tenantId, kind).queue.unshift(job)
  }

  #startFailed(cell: CellProcess): void {
    this.#startFailures = 0
    // The machine changed, or a cleaner of the temporary folder took the image: look again now.
    this.#detected = undefined
    this.#detecting = undefined
    const again = () => this.#pump()
    this.ready().then(again, again)
    for (const lane of this.#lanes.values()) {
      if (lane.kind !== cell.kind) continue
      for (const job of lane.queue.splice(0))
        job.reject(
          new SandboxError('SANDBOX_KILLED', 'no cell could be started', {
            retryable: true,
            details: { reason: 'start' }
          })
        )
    }
  }
}

function closed(): SandboxError {
  return new SandboxError('SANDBOX_CLOSED', 'the sandbox is closed')
}

function isShared(cell: CellProcess): boolean {
  return cell.tenants.size > 1
}
