import type { Test } from 'tap'
import { type Commit, commitAll } from '#core/actors/store.ts'
import { openDb } from '#core/db/index.ts'
import type { Db, Tx } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { migrationsOf } from '#core/plugin.ts'
import type { Claimed } from '#core/queue/claim.ts'
import pulse from '#plugins/pulse/index.ts'
import { sessionKind } from '#plugins/pulse/kind.ts'
import { type TestDb, testDb } from '#test/support/db.ts'

export const kind = sessionKind

/** A tenant's slot row and its waiting sessions. */
export interface Queue {
  readonly tenantId: string
  /** In the order in which they were queued. */
  readonly ids: string[]
}

export interface ClaimDb extends TestDb {
  /** Another host's connections. */
  another(): Promise<Db>
  /** Queues `sessions` of one new tenant, one millisecond apart, oldest first; `bands` by their place, default 1. */
  queue(sessions: number, options?: { max?: number | null; queueMax?: number; bands?: number[] }): Promise<Queue>
  slot(tenantId: string): Promise<{ running: number; queued: number }>
}

/** A database with the session tables and nobody who claims by himself. */
export async function claimDb(t: Pick<Test, 'teardown'>): Promise<ClaimDb> {
  const base = await testDb(t, { rooms: [...coreMigrations, ...migrationsOf([{ room: pulse }])] })
  const { sql } = base
  return {
    ...base,
    async another() {
      const { appUrl, systemUrl, secrets } = base
      const { tenantHmacKey } = secrets
      const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 4, systemPool: 4 })
      t.teardown(() => db.close())
      return db
    },
    async queue(sessions, { max = null, queueMax = 20_000, bands = [] } = {}) {
      const tenantId = newId()
      const ids = Array.from({ length: sessions }, () => newId())
      await sql`
        insert into pulse.session (tenant_id, id, config, pinned, state, context, moves, band, queued_at)
        select ${tenantId}::uuid, i.id, '{}', '{}', 'QUEUED', '{}', 1, coalesce((${bands}::int[])[i.n], 1),
          clock_timestamp() - (${sessions} - i.n) * interval '1 ms'
        from unnest(${ids}::uuid[]) with ordinality as i(id, n)`
      await sql`
        insert into core.slot (tenant_id, class, max, queued, queue_max)
        values (${tenantId}, ${kind.kind}, ${max}, ${sessions}, ${queueMax})`
      return { tenantId, ids }
    },
    async slot(tenantId) {
      const [row] = await sql<{ running: number; queued: number }[]>`
        select running, queued from core.slot where tenant_id = ${tenantId}`
      return row ?? { running: -1, queued: -1 }
    }
  }
}

/** The commit of a session that failed at its first step: it ends, the lease and the slot go back. */
export function lastCommit(row: Claimed): Commit {
  return {
    ref: { tenantId: row.tenantId, id: row.id },
    epoch: row.epoch,
    version: row.version,
    state: 'FAILED',
    context: {},
    moves: row.moves + 1,
    arrows: [{ from: row.state, to: 'FAILED', cause: 'step', by: 'scheduler' }],
    journal: [{ key: 'step:one', record: { status: 'failed' } }],
    answered: [],
    release: true,
    slotted: row.slotted,
    queued: false,
    ended: true
  }
}

/** @returns whether the commit was written */
export async function finish(db: Db, hostId: string, row: Claimed): Promise<boolean> {
  const ours = await db.tenant(row.tenantId, (tx) => commitAll(tx, kind, hostId, [lastCommit(row)]))
  return ours.has(row.id)
}

/** One node of a plan as EXPLAIN gives it. */
export interface PlanNode {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  Plans?: PlanNode[]
}

/** The plan of the one data-changing statement that `work` sends; it is not run. */
export async function planOf(tx: Tx, work: (tx: Tx) => Promise<unknown>): Promise<PlanNode[]> {
  let plan: PlanNode[] = []
  const explaining = new Proxy(tx, {
    apply(target, self, args: [TemplateStringsArray, ...unknown[]]) {
      const [parts, ...values] = args
      const first = Array.isArray(parts) && 'raw' in parts ? String(parts[0]) : ''
      if (!/^\s*with /.test(first)) return Reflect.apply(target, self, args)
      const strings = [`explain (format json) ${first}`, ...parts.slice(1)]
      const asked = Reflect.apply(target, self, [Object.assign(strings, { raw: strings }), ...values])
      return asked.then((rows: { 'QUERY PLAN': { Plan: PlanNode }[] }[]) => {
        plan = rows.flatMap((row) => row['QUERY PLAN'].flatMap(({ Plan }) => flatten(Plan)))
        return []
      })
    }
  })
  await work(explaining)
  return plan
}

function flatten(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)]
}
