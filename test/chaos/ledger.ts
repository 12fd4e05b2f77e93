import { AuditLog } from '#core/audit/service.ts'
import { systemClock } from '#core/clock.ts'
import type { Pool } from '#core/db/types.ts'
import type { TestDb } from '#test/support/db.ts'

/** What the database says of one session after the run: all that a client or another room could ever see of it. */
export interface Ledger {
  readonly id: string
  readonly tenantId: string
  readonly name: string
  readonly state: string
  readonly epoch: number
  readonly moves: number
  readonly ended: boolean
  readonly held: boolean
  readonly result: unknown
  readonly error: { code: string } | null
  readonly every: 'step' | 'end'
  readonly transitions: readonly { n: number; from: string; to: string; cause: string; epoch: number }[]
  readonly journal: readonly { key: string; status: string | null; output: unknown; epoch: number; atMs: number }[]
  /** The step that each checkpoint stands after, oldest first. */
  readonly checkpoints: readonly string[]
  readonly events: readonly {
    seq: number
    type: string
    pct: number | null
    step: string | null
    /** Of session.usage. */
    key: string | null
    outcome: string | null
  }[]
}

/** Every session of the database, as superuser. */
export async function readLedgers(sql: Pool): Promise<Ledger[]> {
  return await sql<Ledger[]>`
    select s.id, s.tenant_id as "tenantId", s.name, s.state, s.epoch, s.moves, s.ended_at is not null as ended,
      s.lease_until is not null or s.slotted or s.queued_at is not null as held, s.result,
      nullif(s.context -> 'error', 'null') as error, s.config #>> '{checkpoints,every}' as every,
      coalesce((
        select jsonb_agg(jsonb_build_object('n', n, 'from', from_state, 'to', to_state, 'cause', cause, 'epoch', epoch)
          order by n)
        from core.transition t where t.tenant_id = s.tenant_id and t.actor_id = s.id), '[]') as transitions,
      coalesce((
        select jsonb_agg(jsonb_build_object('key', key, 'status', record ->> 'status', 'output', record -> 'output',
          'epoch', epoch, 'atMs', extract(epoch from at) * 1000) order by at)
        from core.journal j
        where j.tenant_id = s.tenant_id and j.actor_id = s.id and not starts_with(j.key, 'call:')), '[]') as journal,
      coalesce((
        select jsonb_agg(step order by id) from pulse.checkpoint c
        where c.tenant_id = s.tenant_id and c.session_id = s.id), '[]') as checkpoints,
      coalesce((
        select jsonb_agg(jsonb_build_object('seq', seq, 'type', type, 'pct', data -> 'pct', 'step', data ->> 'step',
          'key', data ->> 'key', 'outcome', data ->> 'outcome')
          order by seq)
        from core.event e where e.stream_id = s.tenant_id and e.subject = 'session:' || s.id), '[]') as events
    from pulse.session s order by s.id`
}

/** The tables of all sessions together. */
export interface Tables {
  readonly slots: readonly { tenantId: string; running: number; queued: number }[]
  readonly streams: readonly {
    streamId: string
    lastSeq: number
    events: number
    lowest: number | null
    highest: number | null
    distinct: number
    waiting: number
  }[]
  readonly audits: readonly {
    tenantId: string
    sessions: number
    /** `session.created` rows, and how many sessions they are about. */
    created: number
    distinct: number
    unsealed: number
    fault: string | null
  }[]
  readonly openCommands: number
  readonly idempotencyKeys: number
}

export async function readTables({ sql, db, secrets }: TestDb): Promise<Tables> {
  const [slots, streams, [rest]] = await Promise.all([
    sql<Tables['slots'][number][]>`select tenant_id as "tenantId", running, queued from core.slot`,
    sql<Tables['streams'][number][]>`
      select s.stream_id as "streamId", s.last_seq::int as "lastSeq", count(e.id)::int as events,
        min(e.seq)::int as lowest, max(e.seq)::int as highest, count(distinct e.seq)::int as distinct,
        count(e.id) filter (where e.seq is null)::int as waiting
      from core.stream s left join core.event e using (stream_id) group by s.stream_id, s.last_seq`,
    sql<{ open: number; keys: number }[]>`
      select (select count(*)::int from core.inbox where outcome is null) as open,
        (select count(*)::int from core.idempotency) as keys`
  ])
  const log = new AuditLog({ db, clock: systemClock, keySeed: secrets.auditKeySeed })
  const counts = await sql<{ tenantId: string; sessions: number; created: number; distinct: number }[]>`
    select t.tenant_id as "tenantId",
      (select count(*)::int from pulse.session s where s.tenant_id = t.tenant_id) as sessions,
      count(e.id)::int as created, count(distinct e.subject)::int as distinct
    from core.tenants t left join audit.entry e on e.tenant_id = t.tenant_id and e.action = 'session.created'
    group by t.tenant_id`
  const audits = await Promise.all(
    counts.map(async (count) => {
      const { unsealed, faults } = await log.verify({ tenantId: count.tenantId })
      return { ...count, unsealed, fault: faults[0]?.what ?? null }
    })
  )
  return { slots, streams, audits, openCommands: rest?.open ?? 0, idempotencyKeys: rest?.keys ?? 0 }
}
