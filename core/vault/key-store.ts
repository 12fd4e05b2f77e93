// What agentos_system reads and writes of the data keys, across tenants; everything here takes a `tx` of `db.system`.
import type { Tx } from '#core/db/types.ts'
import type { DataKeyRow } from './store.ts'

export type StoredKey = DataKeyRow

/** Where a pass over all data keys goes on. */
export type Place = Pick<StoredKey, 'tenantId' | 'generation'>

export async function countByVersion(tx: Tx): Promise<{ version: number; dataKeys: number }[]> {
  return await tx<{ version: number; dataKeys: number }[]>`
    select kek_version as version, count(*)::int as "dataKeys" from vault.data_key group by kek_version`
}

export async function countOlder(tx: Tx, version: number): Promise<number> {
  const [row] = await tx<{ n: number }[]>`
    select count(*)::int as n from vault.data_key where kek_version < ${version}`
  return row?.n ?? 0
}

/** Nothing happens where another transaction made this generation meanwhile. */
export async function insertDataKey(
  tx: Tx,
  { tenantId, generation, wrapped, kekVersion }: Omit<StoredKey, 'wrapped'> & { wrapped: Uint8Array }
): Promise<void> {
  await tx`
    insert into vault.data_key (tenant_id, generation, wrapped, kek_version)
    values (${tenantId}, ${generation}, ${Buffer.from(wrapped)}, ${kekVersion})
    on conflict (tenant_id, generation) do nothing`
}

/** The next keys of older versions, held until the end of the transaction; what others hold is passed by. */
export async function lockOlder(tx: Tx, version: number, after: Place | null, limit: number): Promise<StoredKey[]> {
  return await tx<StoredKey[]>`
    select ${columns(tx)} from vault.data_key
    where kek_version < ${version} and ${after ? tx`(tenant_id, generation) > (${after.tenantId}, ${after.generation})` : tx`true`}
    order by tenant_id, generation limit ${limit}
    for no key update skip locked`
}

export async function rewrap(tx: Tx, key: Place, wrapped: Uint8Array, version: number): Promise<void> {
  await tx`
    update vault.data_key set wrapped = ${Buffer.from(wrapped)}, kek_version = ${version}, rewrapped_at = now()
    where tenant_id = ${key.tenantId} and generation = ${key.generation}`
}

/** All data keys, or those of one version of the KEK, a page at a time. */
export async function page(tx: Tx, after: Place | null, limit: number, version?: number): Promise<StoredKey[]> {
  return await tx<StoredKey[]>`
    select ${columns(tx)} from vault.data_key
    where ${version === undefined ? tx`true` : tx`kek_version = ${version}`}
      and ${after ? tx`(tenant_id, generation) > (${after.tenantId}, ${after.generation})` : tx`true`}
    order by tenant_id, generation limit ${limit}`
}

function columns(tx: Tx) {
  return tx`tenant_id as "tenantId", generation, kek_version as "kekVersion", wrapped`
}
