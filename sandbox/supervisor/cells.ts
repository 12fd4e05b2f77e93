// The cells of one Sandbox: who gets one, spares, eviction, recycling, and the look at each of them every 50 ms.
import type { SandboxStatus } from '../types.ts'
import type { CellOwner, Death } from './cell-owner.ts'
import { CellProcess } from './cell-process.ts'
import type { Detected } from './detect.ts'
import type { Image } from './image.ts'
import type { Job } from './job.ts'
import { type CellKind, launch } from './launch.ts'
import { processCpuMs } from './meter.ts'
import { mayLower, setLow } from './priority.ts'
import type { Settings } from './settings.ts'

const POLL_MS = 50
const FAT = 0.7
const SERVICE_MS = 1000 // a busy cell is not taken from its tenant before

interface Events {
  ready(): void
  freed(cell: CellProcess): void
  /** Do calls of its tenant wait that it is for? */
  awaited(cell: CellProcess): boolean
  gone(cell: CellProcess, jobs: Job[], why: Death): void
  polled(used: Map<string, number>, wallMs: number): void
}

export class Cells {
  readonly counts = { spawned: 0, kills: 0, deaths: 0, recycled: 0, evicted: 0, shared: 0 }
  /** Where cells are made of; undefined while the machine is looked at. */
  base: { image: Image; isolation: Detected['isolation'] } | undefined
  /** May a cell be put below the others, and back? Undefined until the first one. */
  lowers: boolean | undefined
  readonly #settings: Settings
  readonly #events: Events
  readonly #all = new Set<CellProcess>()
  readonly #byTenant = new Map<string, CellProcess[]>()
  readonly #kindsUsed = new Set<CellKind>()
  readonly #servesSince = new WeakMap<CellProcess, number>()
  readonly #cpu = new WeakMap<CellProcess, number>()
  readonly #low = new WeakSet<CellProcess>()
  #poll: { cancel(): void } | undefined
  #polledAt = 0
  #lastJobId = 0
  #lastGeneration = 0

  constructor(settings: Settings, events: Events) {
    this.#settings = settings
    this.#events = events
  }

  get all(): ReadonlySet<CellProcess> {
    return this.#all
  }

  /** A tenant's cells of both kinds, those on their way out included. */
  of(tenantId: string): readonly CellProcess[] {
    return this.#byTenant.get(tenantId) ?? []
  }

  status(): SandboxStatus['cells'] {
    return [...this.#all].map((cell) => ({
      pid: cell.pid,
      kind: cell.kind,
      tenantId: cell.tenantId,
      calls: cell.jobs.size,
      runs: cell.runs,
      rssMb: Math.round(cell.rss)
    }))
  }

  get sharedEver(): number {
    return this.counts.shared + [...this.#all].filter(isShared).length
  }

  warm(kind: CellKind): void {
    this.#kindsUsed.add(kind)
    this.refill()
  }

  /** A blank cell becomes this tenant's; it may still be starting. Undefined: there is no room for one. */
  bind(tenantId: string, kind: CellKind, alone: boolean): CellProcess | undefined {
    const cell = this.#blank(kind)
    if (!cell) return undefined
    cell.bind(tenantId)
    cell.alone = alone
    this.#byTenant.set(tenantId, [...this.of(tenantId), cell])
    this.#kindsUsed.add(kind)
    // After this tick: the call goes first, the spare is spawned behind it.
    setImmediate(() => this.refill())
    return cell
  }

  /**
   * All cells are busy and `wanted` tenants wait for one: the cell of the tenant that has most of them, then the one that
   * served its tenant longest, takes no new calls and makes room when its last one is over.
   */
  makeRoom(wanted: number, now: number): void {
    let leaving = 0
    const busy: CellProcess[] = []
    for (const cell of this.#all) {
      if (cell.state === 'retiring') leaving++
      else if (now - (this.#servesSince.get(cell) ?? now) >= SERVICE_MS) busy.push(cell)
    }
    if (leaving >= wanted || this.#alive() < this.#settings.maxCells) return
    const has = (cell: CellProcess) => this.of(`${cell.tenantId}`).length
    const since = (cell: CellProcess) => this.#servesSince.get(cell) ?? now
    busy.sort((a, b) => has(b) - has(a) || since(a) - since(b))
    for (const cell of busy.slice(0, wanted - leaving)) {
      this.counts.evicted++
      if (cell.jobs.size === 0) cell.kill('evicted')
      else cell.state = 'retiring'
    }
  }

  /** After a call has left: is the cell used up? */
  retire(cell: CellProcess, wantedAlone: boolean): void {
    // Fat with what earlier calls left: better replaced now than killed under the next one.
    const fat = cell.jobs.size === 0 && cell.rss > FAT * this.#settings.cellMemoryMb
    if ((cell.runs >= this.#settings.recycleAfter || cell.full || fat) && cell.state === 'ready') {
      cell.state = 'retiring'
      this.counts.recycled++
    }
    if (cell.jobs.size === 0 && (cell.state === 'retiring' || (cell.alone && !wantedAlone))) cell.kill('recycled')
  }

  refill(): void {
    if (!this.base) return
    for (const kind of this.#kindsUsed) {
      let blank = 0
      for (const cell of this.#all) if (cell.tenantId === null && cell.kind === kind) blank++
      while (blank++ < this.#settings.spareCells && this.#alive() < this.#settings.maxCells) this.#spawn(kind)
    }
  }

  /** For a tenant that uses more than its share while others want the CPU: its threads come after theirs. */
  setLow(tenantId: string, low: boolean): void {
    if (!this.lowers) return
    for (const cell of this.of(tenantId)) {
      if (this.#low.has(cell) === low || cell.state === 'starting') continue
      if (low) this.#low.add(cell)
      else this.#low.delete(cell)
      setLow(cell.pid, low)
    }
  }

  stop(): void {
    this.#poll?.cancel()
    this.#poll = undefined
    this.base = undefined
  }

  #blank(kind: CellKind): CellProcess | undefined {
    let starting: CellProcess | undefined
    for (const cell of this.#all) {
      if (cell.tenantId !== null || cell.kind !== kind) continue
      if (cell.state === 'ready') return cell
      if (cell.state === 'starting') starting = cell
    }
    if (starting) return starting
    if (this.#alive() >= this.#settings.maxCells && !this.#evict()) return undefined
    return this.#spawn(kind)
  }

  #alive(): number {
    let alive = 0
    // One that still runs calls takes its memory, whatever comes after it.
    for (const cell of this.#all)
      if (cell.state !== 'dead' && (cell.state !== 'retiring' || cell.jobs.size > 0)) alive++
    return alive
  }

  /** Makes room: a blank cell of the other kind first, then the one that is idle the longest. */
  #evict(): boolean {
    // One that has just started for somebody is idle, too; tenants would take it from each other before its first call.
    const idle = [...this.#all].filter(
      (cell) => cell.jobs.size === 0 && cell.state === 'ready' && !this.#events.awaited(cell)
    )
    idle.sort((a, b) => Number(a.tenantId !== null) - Number(b.tenantId !== null) || a.idleSince - b.idleSince)
    const victim = idle[0]
    if (!victim) return false
    this.counts.evicted++
    victim.kill('evicted')
    return true
  }

  #spawn(kind: CellKind): CellProcess | undefined {
    if (!this.base) return undefined
    const { clock, log, graceMs, cellMemoryMb } = this.#settings
    const { image, isolation } = this.base
    const child = launch(image, isolation, kind)
    this.lowers ??= mayLower(child.pid)
    this.counts.spawned++
    const owner: CellOwner = {
      clock,
      graceMs,
      log,
      memoryMb: cellMemoryMb,
      namespaces: isolation.namespaces,
      nextJobId: () => {
        this.#lastJobId = (this.#lastJobId + 1) >>> 0 // u32 in the frames
        return this.#lastJobId
      },
      nextGeneration: () => ++this.#lastGeneration,
      ready: () => this.#events.ready(),
      freed: (freed) => this.#events.freed(freed),
      gone: (gone, jobs, why) => this.#gone(gone, jobs, why)
    }
    const cell = new CellProcess(owner, kind, child)
    this.#all.add(cell)
    if (!this.#poll) {
      this.#polledAt = clock.monotonic()
      this.#poll = clock.every(POLL_MS, () => this.#look())
    }
    return cell
  }

  #gone(cell: CellProcess, jobs: Job[], why: Death): void {
    this.#all.delete(cell)
    if (cell.tenantId !== null) {
      const left = this.of(cell.tenantId).filter((one) => one !== cell)
      if (left.length > 0) this.#byTenant.set(cell.tenantId, left)
      else this.#byTenant.delete(cell.tenantId)
    }
    if (why.killed) this.counts.kills++
    else this.counts.deaths++
    if (isShared(cell)) this.counts.shared++
    if (this.#all.size === 0) {
      this.#poll?.cancel()
      this.#poll = undefined
    }
    this.#events.gone(cell, jobs, why)
  }

  #look(): void {
    const now = this.#settings.clock.monotonic()
    const used = new Map<string, number>()
    for (const cell of this.#all) {
      cell.poll()
      if (cell.tenantId === null || cell.state === 'starting') continue
      if (cell.runs > 0 && !this.#servesSince.has(cell)) this.#servesSince.set(cell, now)
      const cpu = processCpuMs(cell.pid)
      const before = this.#cpu.get(cell)
      if (cpu !== undefined) {
        this.#cpu.set(cell, cpu)
        used.set(cell.tenantId, (used.get(cell.tenantId) ?? 0) + Math.max(0, cpu - (before ?? cpu)))
      }
      if (cell.jobs.size === 0 && cell.state === 'ready' && now - cell.idleSince > this.#settings.idleMs)
        cell.kill('idle')
    }
    this.#events.polled(used, now - this.#polledAt)
    this.#polledAt = now
  }
}

function isShared(cell: CellProcess): boolean {
  return cell.tenants.size > 1
}
