import type { ChainEntry, Link } from '#core/audit/chain.ts'
import type { Tx } from '#core/db/types.ts'
import { type EntryRow, entryColumns, entryOf, TIME } from './entry.ts'

/**
 * Tenants with rows to seal, by id, but for those whose data is being erased right now.
 * @param tx of `db.system`, as in all of this file
 * @param after only tenants with larger ids; null: from the first
 */
export async function waitingTenants(tx: Tx, after: string | null, limit: number): Promise<string[]> {
  // One probe of the index per tenant found, however many rows wait.
  const rows = await tx<{ tenantId: string }[]>`
    with recursive waiting as (
      (select tenant_id from audit.tally
        ${after === null ? tx`` : tx`where tenant_id > ${after}`} order by tenant_id limit 1)
      union all
      select (select t.tenant_id from audit.tally t where t.tenant_id > w.tenant_id order by t.tenant_id limit 1)
      from waiting w where w.tenant_id is not null
    )
    select w.tenant_id as "tenantId" from waiting w where w.tenant_id is not null
      and not exists (select from core.tenants t where t.tenant_id = w.tenant_id
        and t.erase_at <= now() and t.erased_at is null)
    limit ${limit}`
  return rows.map((row) => row.tenantId)
}

/** Gives each tenant its row to lock. Its own transaction: who seals must not wait for another's insert. */
export async function makeChains(tx: Tx, tenantIds: readonly string[]): Promise<void> {
  await tx`
    insert into audit.chain (tenant_id) select t.id from unnest(${[...tenantIds]}::uuid[]) as t (id)
    where not exists (select from audit.chain c where c.tenant_id = t.id) order by 1
    on conflict do nothing`
}

export interface Locked {
  locked: string[]
  /** The locked ones whose data was erased; what is written of them now begins a new chain. */
  erased: string[]
  /** Those that another session holds, and how long their first row waits, ms. */
  held: { tenantId: string; waitsMs: number }[]
  /** The database's time. */
  at: string
}

/** Becomes the one sealer of those tenants that nobody else is sealing, until the end of the transaction. */
export async function lockChains(tx: Tx, tenantIds: readonly string[]): Promise<Locked> {
  const mine = await tx<{ tenantId: string }[]>`
    select tenant_id as "tenantId" from audit.chain where tenant_id = any (${[...tenantIds]}::uuid[])
    for update skip locked`
  const locked = mine.map((row) => row.tenantId)
  const rows = await tx<{ tenantId: string; erased: boolean; waitsMs: number; at: string }[]>`
    select t.id as "tenantId", to_char(clock_timestamp() at time zone 'utc', ${TIME}) as at,
      exists (select from core.tenants o where o.tenant_id = t.id and o.erased_at is not null) as erased,
      case when t.id = any (${locked}::uuid[]) then 0 else coalesce((
        select extract(epoch from clock_timestamp() - e.at) * 1000
        from (select entry_ids[1] as id from audit.tally where tenant_id = t.id order by xid limit 1) first
        join audit.entry e on e.tenant_id = t.id and e.id = first.id
      ), 0) end::float8 as "waitsMs"
    from unnest(${[...tenantIds]}::uuid[]) as t (id)`
  const isMine = new Set(locked)
  return {
    locked,
    erased: rows.filter((row) => row.erased && isMine.has(row.tenantId)).map((row) => row.tenantId),
    held: rows.filter((row) => !isMine.has(row.tenantId)),
    at: rows[0]?.at ?? ''
  }
}

/** The last link of each chain that has one, without its row. */
export async function findHeads(tx: Tx, tenantIds: readonly string[]): Promise<Map<string, Link>> {
  const rows = await tx<{ tenantId: string; seq: bigint; at: string; hash: string; signature: string | null }[]>`
    select t.id as "tenantId", s.seq, to_char(s.sealed_at at time zone 'utc', ${TIME}) as at,
      encode(s.hash, 'hex') as hash, translate(encode(s.signature, 'base64'), E'\n', '') as signature
    from unnest(${[...tenantIds]}::uuid[]) as t (id)
    cross join lateral (select * from audit.seal where tenant_id = t.id order by seq desc limit 1) s`
  return new Map(
    rows.map(({ tenantId, seq, at, hash, signature }) => [
      tenantId,
      { seq: Number(seq), at, hash, ...(signature === null ? {} : { signature }) }
    ])
  )
}

/** One row that a transaction counted: the row itself, or only its id where it is gone. */
export interface Counted {
  tenantId: string
  xid: string
  id: string
  entry: ChainEntry | null
  /** It is in the chain already. */
  sealed: boolean
}

/**
 * What the transactions of the locked tenants counted, at most `limit` transactions of each, in the order of their xids.
 * A transaction that began after another's commit was seen has the larger xid, and the earlier one's rows are here or
 * sealed: so cause stands before effect. Its own statement after the lock: a snapshot that sees what the last sealer did.
 */
export async function countedRows(tx: Tx, tenantIds: readonly string[], limit: number): Promise<Counted[]> {
  const rows = await tx<(EntryRow & { owner: string; xid: string; counted: string; sealed: boolean })[]>`
    select t.tenant_id as owner, t.xid::text as xid, u.id as counted,
      exists (select from audit.seal s where s.tenant_id = t.tenant_id and s.entry_id = u.id) as sealed,
      ${entryColumns(tx)}
    from unnest(${[...tenantIds]}::uuid[]) as l (id)
    cross join lateral (select * from audit.tally where tenant_id = l.id order by xid limit ${limit}) t
    cross join lateral unnest(t.entry_ids) with ordinality as u (id, n)
    left join audit.entry e on e.tenant_id = t.tenant_id and e.id = u.id
    order by t.tenant_id, t.xid, u.n`
  return rows.map((row) => ({
    tenantId: row.owner,
    xid: row.xid,
    id: row.counted,
    entry: row.id === null ? null : entryOf(row),
    sealed: row.sealed
  }))
}

/** Adds links to the chains, and forgets the counts that they hold now. */
export async function writeLinks(
  tx: Tx,
  links: readonly { tenantId: string; link: Link }[],
  counted: readonly { tenantId: string; xid: string }[]
): Promise<void> {
  const rows = links.map(({ tenantId, link: { seq, at, entry, fault, hash, signature } }) => {
    return { tenantId, seq, at, entryId: entry?.id, fault, hash, signature }
  })
  await Promise.all([
    tx`
      insert into audit.seal (tenant_id, seq, entry_id, fault, hash, sealed_at, signature)
      select l."tenantId", l.seq, l."entryId", l.fault, decode(l.hash, 'hex'), l.at, decode(l.signature, 'base64')
      from jsonb_to_recordset(${tx.json(rows as never)}) as l("tenantId" uuid, seq bigint, "entryId" uuid, fault jsonb,
        hash text, at timestamptz, signature text)`,
    tx`
      delete from audit.tally t using unnest(
        ${counted.map((row) => row.tenantId)}::uuid[], ${counted.map((row) => row.xid)}::text[]
      ) as c (tenant_id, xid) where t.tenant_id = c.tenant_id and t.xid = c.xid::xid8`
  ])
}
