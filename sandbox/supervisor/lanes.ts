import type { Job } from './job.ts'
import type { CellKind } from './launch.ts'
import type { Account, FairShare } from './schedule.ts'

/** What waits of one tenant for one kind of cell. */
export interface Lane {
  readonly tenantId: string
  readonly kind: CellKind
  readonly account: Account
  readonly queue: Job[]
  /** Since when nothing but a cell is wanting. */
  cellWantedAt: number | undefined
}

/** The lanes in which somebody waits, in the order of a line: whoever was served goes to its end. */
export class Lanes {
  readonly #share: FairShare
  readonly #line = new Map<string, Lane>()

  constructor(share: FairShare) {
    this.#share = share
  }

  get waiting(): number {
    let sum = 0
    for (const lane of this.#line.values()) sum += lane.queue.length
    return sum
  }

  get line(): Iterable<Lane> {
    return this.#line.values()
  }

  /** What waits of a tenant for one kind of cell. */
  of(tenantId: string, kind: CellKind): readonly Job[] {
    return this.#line.get(keyOf(tenantId, kind))?.queue ?? []
  }

  /** `first`: it waited before, or others wait for it. */
  push(job: Job, first: boolean): Lane {
    const { tenantId, skill } = job.call
    const kind: CellKind = skill.verified ? 'jit' : 'jitless'
    const key = keyOf(tenantId, kind)
    let lane = this.#line.get(key)
    if (!lane) {
      lane = { tenantId, kind, account: this.#share.account(tenantId), queue: [], cellWantedAt: undefined }
      this.#line.set(key, lane)
    }
    if (first) lane.queue.unshift(job)
    else lane.queue.push(job)
    lane.account.waiting++
    return lane
  }

  /** Takes a job out, wherever it stands. */
  remove(lane: Lane, at: number): void {
    lane.queue.splice(at, 1)
    lane.account.waiting--
    const key = keyOf(lane.tenantId, lane.kind)
    this.#line.delete(key)
    if (lane.queue.length > 0) this.#line.set(key, lane)
  }

  /** Empties all lanes, or those of one kind. */
  drain(kind?: CellKind): Job[] {
    const jobs: Job[] = []
    for (const [key, lane] of this.#line) {
      if (kind !== undefined && lane.kind !== kind) continue
      lane.account.waiting -= lane.queue.length
      jobs.push(...lane.queue.splice(0))
      this.#line.delete(key)
    }
    return jobs
  }
}

function keyOf(tenantId: string, kind: CellKind): string {
  return `${kind}:${tenantId}`
}
