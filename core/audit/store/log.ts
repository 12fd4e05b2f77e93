import type { ChainEntry, Link, SealedFault } from '#core/audit/chain.ts'
import type { Tx } from '#core/db/types.ts'
import { type EntryRow, entryColumns, entryOf, TIME } from './entry.ts'

interface LinkRow extends EntryRow {
  seq: bigint
  goneId: string | null
  sealedAt: string
  fault: SealedFault | null
  hash: string
  signature: string | null
}

/** Links with seq > `after`, in order. @param tx of the tenant, or of `db.system` */
export async function linksAfter(tx: Tx, tenantId: string, after: number, limit: number): Promise<Link[]> {
  const rows = await tx<LinkRow[]>`
    select s.seq, s.entry_id as "goneId", to_char(s.sealed_at at time zone 'utc', ${TIME}) as "sealedAt", s.fault,
      encode(s.hash, 'hex') as hash, translate(encode(s.signature, 'base64'), E'\n', '') as signature,
      ${entryColumns(tx)}
    from audit.seal s left join audit.entry e on e.tenant_id = s.tenant_id and e.id = s.entry_id
    where s.tenant_id = ${tenantId} and s.seq > ${after} order by s.seq limit ${limit}`
  return rows.map((row) => {
    const { goneId, fault, hash, signature } = row
    return {
      seq: Number(row.seq),
      at: row.sealedAt,
      ...(row.id === null ? {} : { entry: entryOf(row) }),
      ...(fault === null ? {} : { fault }),
      ...(row.id === null && goneId !== null ? { goneId } : {}),
      hash,
      ...(signature === null ? {} : { signature })
    }
  })
}

/** The last link's number and hash; null where nothing is sealed. */
export async function findHead(tx: Tx, tenantId: string): Promise<{ seq: number; hash: string } | null> {
  const [row] = await tx<{ seq: bigint; hash: string }[]>`
    select seq, encode(hash, 'hex') as hash from audit.seal where tenant_id = ${tenantId} order by seq desc limit 1`
  return row ? { seq: Number(row.seq), hash: row.hash } : null
}

/** What no link holds. */
export interface Loose {
  /** Rows that wait for their seal. */
  unsealed: number
  /** Of the first ones: there, and neither sealed nor counted. */
  stray: string[]
  /** Where the next page begins; null after the last. */
  next: string | null
}

const NAMED = 20

/**
 * A page of the log, by id, in one snapshot: a whole log of millions would take longer than a statement may.
 * @param after rows with larger ids; null: from the first
 */
export async function findLoose(tx: Tx, tenantId: string, after: string | null, limit: number): Promise<Loose> {
  const [row] = await tx<(Omit<Loose, 'next'> & { size: number; last: string | null })[]>`
    with page as materialized (
      select e.id from audit.entry e where e.tenant_id = ${tenantId} ${after === null ? tx`` : tx`and e.id > ${after}`}
      order by e.id limit ${limit}
    ), counted as materialized (
      select unnest(entry_ids) as id from audit.tally where tenant_id = ${tenantId}
    ), unsealed as materialized (
      select p.id from page p
      where not exists (select from audit.seal s where s.tenant_id = ${tenantId} and s.entry_id = p.id)
    )
    select (select count(*)::int from page) as size, (select id from page order by id desc limit 1) as last,
      (select count(*)::int from unsealed) as unsealed,
      array(select id from unsealed u where not exists (select from counted c where c.id = u.id) limit ${NAMED}) as stray`
  if (!row) return { unsealed: 0, stray: [], next: null }
  return { unsealed: row.unsealed, stray: row.stray, next: row.size < limit ? null : row.last }
}

/** The first rows that a transaction counted and that are gone before their seal. */
export async function findGone(tx: Tx, tenantId: string): Promise<string[]> {
  const rows = await tx<{ id: string }[]>`
    select c.id from (select unnest(entry_ids) as id from audit.tally where tenant_id = ${tenantId}) c
    where not exists (select from audit.entry e where e.tenant_id = ${tenantId} and e.id = c.id) limit ${NAMED}`
  return rows.map((row) => row.id)
}

export interface ListQuery {
  readonly action?: string | undefined
  readonly actor?: { kind: string; id: string | null } | undefined
  readonly subject?: string | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly before: string | null
  readonly limit: number
}

export interface ListRow {
  readonly entry: ChainEntry
  /** null: not sealed yet */
  readonly seq: number | null
  /** `at` as Postgres writes it, for the cursor. */
  readonly position: string
}

/** Newest first. */
export async function listEntries(tx: Tx, query: ListQuery): Promise<ListRow[]> {
  const { action, actor, subject, from, to, before, limit } = query
  const family = action?.endsWith('.*') ? action.slice(0, -1) : undefined
  const rows = await tx<(EntryRow & { seq: bigint | null; position: string })[]>`
    select ${entryColumns(tx)}, s.seq, e.at::text as position
    from audit.entry e left join audit.seal s on s.tenant_id = e.tenant_id and s.entry_id = e.id
    where e.tenant_id = (select core.tenant())
      ${before === null ? tx`` : tx`and e.id < ${before}`}
      ${family === undefined ? tx`` : tx`and e.action ^@ ${family}`}
      ${action === undefined || family !== undefined ? tx`` : tx`and e.action = ${action}`}
      ${subject === undefined ? tx`` : tx`and e.subject = ${subject}`}
      ${actor === undefined ? tx`` : tx`and e.actor_kind = ${actor.kind}`}
      ${actor?.id == null ? tx`` : tx`and e.actor_id = ${actor.id}`}
      ${from === undefined ? tx`` : tx`and e.at >= ${from}::text::timestamptz and e.id >= ${idAt(from, -1000)}`}
      ${to === undefined ? tx`` : tx`and e.at < ${to}::text::timestamptz and e.id < ${idAt(to)}`}
    order by e.id desc limit ${limit}`
  return rows.map((row) => ({
    entry: entryOf(row),
    seq: row.seq === null ? null : Number(row.seq),
    position: row.position
  }))
}

// Ids are made by the database just before `at`, so a time is a place in the primary key.
function idAt(time: string, plusMs = 0): string {
  const hex = Math.max(0, Date.parse(time) + plusMs)
    .toString(16)
    .padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}
