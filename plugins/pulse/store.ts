import { type Json, NOTE_KEY } from '#core/actors/index.ts'
import type { Tx } from '#core/db/index.ts'
import { type CallRecord, MAX_RECORDING_BYTES, type PinnedSkill, RecordingTooLarge } from '#core/ports/tools.ts'
import { INITIAL, type SessionProgressContext } from './machine.ts'
import type { Kept } from './outputs.ts'
import type { SessionConfig, SessionState } from './schema.ts'

/** A session's row as its views need it. */
export interface SessionRecord {
  readonly id: string
  readonly tenantId: string
  readonly name: string | null
  readonly agent: string | null
  readonly state: SessionState
  readonly context: SessionProgressContext
  readonly config: SessionConfig
  readonly pinned: { skills: PinnedSkill[]; durationMs: number | null; toolCalls?: number | null }
  /** What its running step said last, as a percentage of the session. */
  readonly pct: number
  readonly epoch: number
  readonly moves: number
  readonly waiting: boolean
  readonly deadline: Date | null
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  readonly result: Kept
}

export interface HistoryRows {
  readonly journal: ReadonlyMap<string, Json>
  readonly checkpoints: readonly { id: string; name: string | null; step: string; createdAt: Date }[]
  readonly transitions: readonly { from: string; to: string; cause: string; by: string; at: Date; epoch: number }[]
}

/** @returns null when the tenant has no such session; another tenant's looks the same */
export async function findSession(tx: Tx, id: string): Promise<SessionRecord | null> {
  const [row] = await tx<(Omit<SessionRecord, 'result'> & { result: Json; resultDigest: string | null })[]>`
    select id, tenant_id as "tenantId", name, agent, state, context, config, pinned, pct, epoch, moves,
      queued_at is not null as waiting, deadline, created_at as "createdAt", started_at as "startedAt",
      ended_at as "endedAt", result, result_digest as "resultDigest"
    from pulse.session where tenant_id = (select core.tenant()) and id = ${id}`
  if (!row) return null
  const { resultDigest, ...rest } = row
  return { ...rest, context: { ...INITIAL, ...rest.context }, result: { value: row.result, ref: resultDigest } }
}

/** Holds the session's row for the rest of the transaction. */
export async function lockSession(tx: Tx, id: string): Promise<void> {
  await tx`select from pulse.session where tenant_id = (select core.tenant()) and id = ${id} for update`
}

/** Everything that belongs to one session beside its row. */
export async function findHistory(tx: Tx, id: string): Promise<HistoryRows> {
  const [journal, checkpoints, transitions] = await Promise.all([
    tx<{ key: string; record: Json }[]>`
      select key, record from core.journal
      where tenant_id = (select core.tenant()) and actor_id = ${id} and not starts_with(key, ${NOTE_KEY})`,
    tx<{ id: string; name: string | null; step: string; createdAt: Date }[]>`
      select id, name, step, created_at as "createdAt" from pulse.checkpoint
      where tenant_id = (select core.tenant()) and session_id = ${id} order by id`,
    tx<{ from: string; to: string; cause: string; by: string; at: Date; epoch: number }[]>`
      select from_state as "from", to_state as "to", cause, by, at, epoch from core.transition
      where tenant_id = (select core.tenant()) and actor_id = ${id} order by n`
  ])
  return { journal: new Map(journal.map((row) => [row.key, row.record])), checkpoints, transitions }
}

export interface ListQuery {
  readonly state?: SessionState | undefined
  readonly name?: string | undefined
  readonly agent?: string | undefined
  readonly createdAfter?: string | undefined
  /** Only sessions older than this one (the last of the page before). */
  readonly before: string | null
  readonly limit: number
}

export interface ListRow {
  readonly id: string
  readonly name: string | null
  readonly agent: string | null
  readonly state: SessionState
  readonly step: number
  readonly steps: number
  readonly pct: number
  /** `created_at` as Postgres writes it, for the cursor. */
  readonly position: string
  readonly error: { code: string; message: string; step?: string } | null
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
}

const LIVING = new Set<SessionState>(['CREATED', 'QUEUED', 'RUNNING', 'CHECKPOINT', 'GATE_CHECK', 'PAUSED', 'ROLLBACK'])

/** Newest first: ids are UUIDv7, so their order is that of creation. */
export async function listSessions(tx: Tx, query: ListQuery): Promise<ListRow[]> {
  const { state, name, agent, createdAfter, before, limit } = query
  return await tx<ListRow[]>`
    select id, name, agent, state, pct, (context -> 'step')::int as step, jsonb_array_length(config -> 'steps') as steps,
      case when context -> 'error' <> 'null'::jsonb then context -> 'error' end as error,
      created_at::text as position, created_at as "createdAt", started_at as "startedAt", ended_at as "endedAt"
    from pulse.session
    where tenant_id = (select core.tenant())
      ${before === null ? tx`` : tx`and id < ${before}`}
      ${state === undefined ? tx`` : tx`and state = ${state} ${LIVING.has(state) ? tx`and ended_at is null` : tx``}`}
      ${name === undefined ? tx`` : tx`and name = ${name}`}
      ${agent === undefined ? tx`` : tx`and agent = ${agent}`}
      ${createdAfter === undefined ? tx`` : tx`and created_at > ${createdAfter}::text::timestamptz`}
    order by id desc limit ${limit}`
}

export interface CheckpointRow {
  readonly id: string
  readonly sessionId: string
  readonly step: string
  readonly snapshot: SessionProgressContext
}

/** The caller's actor commit is open: its fence holds for these rows too. */
export async function insertCheckpoints(tx: Tx, rows: readonly CheckpointRow[]): Promise<void> {
  if (rows.length === 0) return
  await tx`
    insert into pulse.checkpoint (id, session_id, step, snapshot)
    select c.id, c."sessionId", c.step, c.snapshot
    from jsonb_to_recordset(${tx.json(rows as never)}) as c(id uuid, "sessionId" uuid, step text, snapshot jsonb)`
}

export async function setResults(
  tx: Tx,
  rows: readonly { id: string; result: unknown; ref: string | null }[]
): Promise<void> {
  if (rows.length === 0) return
  await tx`
    update pulse.session s set result = r.result, result_digest = r.ref
    from jsonb_to_recordset(${tx.json(rows as never)}) as r(id uuid, result jsonb, ref text)
    where s.tenant_id = (select core.tenant()) and s.id = r.id`
}

/**
 * A running step says how far it is.
 * @returns false where the session is further already, the step is over, or another host runs it: nothing to announce
 */
export async function raisePct(
  tx: Tx,
  { id, epoch, step, pct }: { id: string; epoch: number; step: number; pct: number }
): Promise<boolean> {
  const raised = await tx`
    update pulse.session set pct = ${pct}
    where tenant_id = (select core.tenant()) and id = ${id} and epoch = ${epoch} and state = 'RUNNING'
      and (context -> 'step')::int = ${step} and pct < ${pct}
    returning 1`
  return raised.length > 0
}

/** The records of a session's calls, as they were committed. @throws TOOLS_RECORDING_TOO_LARGE before it reads them */
export async function findCalls(tx: Tx, id: string): Promise<CallRecord[]> {
  const [size] = await tx<{ bytes: number }[]>`
    select coalesce(sum(octet_length(record::text)), 0)::float8 as bytes from core.journal
    where tenant_id = (select core.tenant()) and actor_id = ${id} and starts_with(key, ${NOTE_KEY})`
  if (size && size.bytes > MAX_RECORDING_BYTES) throw new RecordingTooLarge(size.bytes)
  const rows = await tx<{ record: CallRecord }[]>`
    select record from core.journal
    where tenant_id = (select core.tenant()) and actor_id = ${id} and starts_with(key, ${NOTE_KEY}) order by at, key`
  return rows.map(({ record }) => record)
}

/** Name of the tenant's plan, a key of config's plan table. */
export async function findPlanName(tx: Tx): Promise<string> {
  const [row] = await tx<{ plan: string }[]>`select plan from core.tenants where tenant_id = (select core.tenant())`
  return row?.plan ?? 'free'
}
