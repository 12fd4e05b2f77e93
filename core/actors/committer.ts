import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db, Tx } from '#core/db/index.ts'
import type { PendingEvent } from '#core/events.ts'
import type { Log } from '#core/log.ts'
import type { MachineKind } from './kind.ts'
import { type Commit, commitAll } from './store.ts'

/**
 * Writes a room's own rows in the commit of its actors: SQL on `tx` and afterCommit hooks, nothing that a rollback would
 * leave behind. What is committed is ours, every entry of it.
 */
export type Write = (tx: Tx, entries: readonly WriteEntry[]) => Promise<void>

export interface WriteEntry {
  readonly ref: { readonly tenantId: string; readonly id: string }
  readonly state: string
  readonly context: object
  readonly moves: number
  readonly rows: readonly unknown[]
}

export interface Entry {
  readonly commit: Commit
  readonly events: readonly PendingEvent[]
  readonly rows: readonly unknown[]
}

/** `lost`: another epoch owns the actor. `mail`: written, and commands wait that the activation has not seen. */
export type Committed = 'written' | 'mail' | 'lost'

interface Waiting extends Entry {
  readonly done: (outcome: Committed) => void
  readonly fail: (error: unknown) => void
}

/** One transaction carries at most this many commits of a tenant. */
const BATCH = 64
/** While the database is away, outcomes are kept in memory this long; the fence decides whether they still count. */
const PARK_MS = 60_000
const RETRY_MS = 250

/**
 * Commits what activations of one tenant have ready together in one transaction. At most `lanes` transactions run at
 * once; while all are busy the outcomes of every tenant gather, so the batches grow with the load and idle ones wait
 * for nothing.
 */
export class Committer {
  private readonly waiting = new Map<string, Waiting[]>()
  private running = 0
  private readonly busy = new Set<string>()
  private readonly options: CommitterOptions

  constructor(options: CommitterOptions) {
    this.options = options
  }

  /**
   * @returns `lost` when another epoch owns the actor now: nothing was written, the activation must end
   * @throws what the database refuses for good
   */
  commit(entry: Entry): Promise<Committed> {
    return new Promise((done, fail) => {
      const { tenantId } = entry.commit.ref
      const queue = this.waiting.get(tenantId)
      if (queue) queue.push({ ...entry, done, fail })
      else this.waiting.set(tenantId, [{ ...entry, done, fail }])
      this.pump()
    })
  }

  private pump(): void {
    for (const tenantId of this.waiting.keys()) {
      if (this.running >= this.options.lanes) return
      if (this.busy.has(tenantId)) continue // its next batch gathers behind the running one
      const queue = this.waiting.get(tenantId) ?? []
      const batch = queue.splice(0, BATCH)
      this.waiting.delete(tenantId)
      if (queue.length > 0) this.waiting.set(tenantId, queue) // back to the end of the line
      this.running += 1
      this.busy.add(tenantId)
      void this.flush(tenantId, batch).finally(() => {
        this.running -= 1
        this.busy.delete(tenantId)
        this.pump()
      })
    }
  }

  private async flush(tenantId: string, batch: Waiting[]): Promise<void> {
    const { clock, log, kind } = this.options
    const giveUp = clock.monotonic() + PARK_MS
    for (let attempt = 1; ; attempt += 1) {
      try {
        const atOnce = attempt === 1 ? await this.writeAtOnce(tenantId, batch) : null
        const ours = atOnce ?? (await this.write(tenantId, batch, attempt > 1))
        for (const waiting of batch) waiting.done(committed(ours.get(waiting.commit.ref.id)))
        return
      } catch (error) {
        if (batch.length > 1 && !isOutage(error)) return await this.flushEach(tenantId, batch) // one of them is at fault
        if (!isOutage(error) || clock.monotonic() > giveUp) {
          log.error({ err: error, kind: kind.kind, actors: batch.length }, 'outcome not committed')
          // Outage: the lease decides who goes on. Refused by the database: it would be refused again, so it is an error.
          for (const waiting of batch) isOutage(error) ? waiting.done('lost') : waiting.fail(error)
          return
        }
        await clock.sleep(RETRY_MS)
      }
    }
  }

  private async flushEach(tenantId: string, batch: Waiting[]): Promise<void> {
    for (const waiting of batch) await this.flush(tenantId, [waiting])
  }

  // The usual case in one round trip: everything is sent together, and only a batch that was ours as a whole is
  // committed. Null: nothing was written, the fence has to be asked first.
  private async writeAtOnce(tenantId: string, batch: Waiting[]): Promise<Map<string, boolean> | null> {
    const { db, kind, hostId } = this.options
    try {
      return await db.tenant(tenantId, async (tx) => {
        const commits = batch.map((waiting) => waiting.commit)
        // The fence goes last: it locks the tenant's slot row, for which claims and admissions wait.
        const [, ours] = await Promise.all([this.writeMore(tx, batch), commitAll(tx, kind, hostId, commits)])
        if (ours.size < batch.length) throw new NotAllOurs()
        return ours
      })
    } catch (error) {
      if (isOutage(error)) throw error
      return null
    }
  }

  private async writeMore(tx: Tx, batch: readonly Waiting[]): Promise<void> {
    const { bus, write } = this.options
    const events = batch.flatMap((waiting) => [...waiting.events])
    const rows = batch.filter((waiting) => waiting.rows.length > 0)
    await Promise.all([
      events.length > 0 ? bus.emitAll(tx, events) : undefined,
      rows.length > 0 && write ? write(tx, rows.map(toWriteEntry)) : undefined
    ])
  }

  private async write(tenantId: string, batch: Waiting[], repeated: boolean): Promise<Map<string, boolean>> {
    const { db, kind, hostId } = this.options
    return await db.tenant(tenantId, async (tx) => {
      const commits = batch.map((waiting) => waiting.commit)
      const ours = await commitAll(tx, kind, hostId, commits)
      // A connection lost during COMMIT leaves it open whether the first try was written: then the row is one version on.
      const written = repeated && ours.size < batch.length ? await this.alreadyWritten(tx, commits, ours) : []
      const fenced = batch.filter((waiting) => ours.has(waiting.commit.ref.id))
      await this.writeMore(tx, fenced)
      // Whether commands wait for those is not known: looking once too often does no harm.
      return new Map([...ours, ...written.map((id) => [id, true] as const)])
    })
  }

  private async alreadyWritten(tx: Tx, commits: Commit[], ours: ReadonlyMap<string, boolean>): Promise<string[]> {
    const missing = commits.filter((commit) => !ours.has(commit.ref.id))
    const expected = missing.map((commit) => ({ id: commit.ref.id, epoch: commit.epoch, version: commit.version + 1 }))
    const rows = await tx<{ id: string }[]>`
      select a.id from ${tx(this.options.kind.table)} a
      join jsonb_to_recordset(${tx.json(expected)}) as e(id uuid, epoch int, version int)
        on a.id = e.id and a.epoch = e.epoch and a.version = e.version
      where a.tenant_id = (select core.tenant())`
    return rows.map((row) => row.id)
  }
}

function committed(mail: boolean | undefined): Committed {
  if (mail === undefined) return 'lost'
  return mail ? 'mail' : 'written'
}

class NotAllOurs extends Error {}

export interface CommitterOptions {
  readonly kind: MachineKind
  readonly hostId: string
  readonly db: Db
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  readonly lanes: number
  readonly write?: Write
}

function toWriteEntry(waiting: Waiting): WriteEntry {
  const { ref, state, context, moves } = waiting.commit
  return { ref, state, context, moves, rows: waiting.rows }
}

// Class 08 (connection), 57P (shutdown), 53 (resources), 40 (deadlock, serialisation): the same commit may pass later.
function isOutage(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^(08|57P|53|40)/.test(code) || /^(CONNECTION|CONNECT_|ECONN|DB_)/.test(code)
}
