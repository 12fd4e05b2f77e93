import type { ChainEntry } from '#core/audit/chain.ts'
import type { Tx } from '#core/db/types.ts'

/** Times with microseconds, as text: what is hashed must be the same text for ever. */
export const TIME = `YYYY-MM-DD"T"HH24:MI:SS.US"Z"`

export interface EntryRow {
  tenantId: string
  id: string
  at: string
  action: string
  subject: string
  actorKind: string
  actorId: string
  requestId: string | null
  from: string | null
  before: string | null
  after: string | null
  details: Record<string, unknown>
}

/** Columns of audit.entry, named `e`. */
export function entryColumns(tx: Tx) {
  return tx`e.tenant_id as "tenantId", e.id, to_char(e.at at time zone 'utc', ${TIME}) as at, e.action, e.subject,
    e.actor_kind as "actorKind", e.actor_id as "actorId", e.request_id as "requestId", e.from_address as "from",
    'sha256:' || encode(e.before_digest, 'hex') as before, 'sha256:' || encode(e.after_digest, 'hex') as after, e.details`
}

export function entryOf(row: EntryRow): ChainEntry {
  const { tenantId, id, at, action, subject, requestId, from, before, after, details } = row
  const actor = { kind: row.actorKind, id: row.actorId }
  return { tenantId, id, at, action, subject, actor, requestId, from, before, after, details }
}
