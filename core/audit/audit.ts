import type { Actor, Tx } from '#core/db/types.ts'
import { storableText } from '#core/json.ts'
import { digestOf } from './canonical.ts'

/** One row of the audit log, but for who, when, which request and from where: those are the transaction's. */
export interface AuditEntry {
  /** `owner.past_tense`, e.g. `key.created`. */
  action: string
  /** `kind:<id or name>`, e.g. `key:<id>`. */
  subject: string
  /** The thing before and after: stored as sha256 of its canonical JSON, never itself. */
  before?: unknown
  after?: unknown
  /** Small and never secret; texts are cut at 200 characters. */
  details?: Readonly<Record<string, string | number | boolean | null>>
}

/**
 * Writes one audit row in this tenant transaction. Who, request id and address come from the transaction's signed claims
 * (`db.tenant({ tenantId, actor })`); without an actor it is the tenant's own background job.
 * Nothing depends on its answer: send it together with the transaction's last statements (Promise.all).
 * @throws PostgresError 42501 outside a tenant transaction, 23514 for a malformed action or subject
 */
export async function audit(tx: Tx, entry: AuditEntry): Promise<void> {
  const { action, subject, before, after, details } = rowOf(entry)
  await tx`
    insert into audit.entry (action, subject, before_digest, after_digest, details)
    values (${action}, ${subject}, ${before}, ${after}, ${tx.json(details)})`
}

/** The same for many, in one statement; rows keep the order. */
export async function auditAll(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  const [first, ...more] = entries
  if (!first) return
  if (more.length === 0) {
    await audit(tx, first) // half the work for the server
    return
  }
  const rows = entries
    .map(rowOf)
    .map(({ before, after, ...row }) => ({ ...row, before: hex(before), after: hex(after) }))
  await tx`
    insert into audit.entry (action, subject, before_digest, after_digest, details)
    select e.action, e.subject, decode(e.before, 'hex'), decode(e.after, 'hex'), e.details
    from jsonb_to_recordset(${tx.json(rows as never)})
      as e(action text, subject text, before text, after text, details jsonb)`
}

/**
 * The same for who has no transaction of the tenant: routes of the platform, as agentos_system into the touched tenant.
 * @param tx of `db.system`
 */
export async function auditAs(tx: Tx, tenantId: string, actor: Actor, entry: AuditEntry): Promise<void> {
  const { action, subject, before, after, details } = rowOf(entry)
  const { kind, id, requestId = null, from = null } = actor
  await tx`
    insert into audit.entry (tenant_id, actor_kind, actor_id, request_id, from_address,
      action, subject, before_digest, after_digest, details)
    values (${tenantId}, ${kind}, ${id}, ${requestId}, ${from}, ${action}, ${subject},
      ${before}, ${after}, ${tx.json(details)})`
}

function rowOf({ action, subject, before, after, details = {} }: AuditEntry) {
  const cut = Object.entries(details).map(([name, value]) => [
    name,
    typeof value === 'string' ? storableText(value, 200) : value
  ])
  return {
    action,
    subject: storableText(subject, 300),
    before: digest(before),
    after: digest(after),
    details: Object.fromEntries(cut)
  }
}

function digest(value: unknown): Buffer | null {
  return value === undefined ? null : digestOf(value)
}

function hex(bytes: Buffer | null): string | null {
  return bytes?.toString('hex') ?? null
}
