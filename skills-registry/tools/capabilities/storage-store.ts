import type { Tx } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import { CapabilityError } from '#skills-registry/tools/capability.ts'
import type { StorageOptions } from './storage-options.ts'

/** A skill takes of its tenant's total by the block: only every so often do writes of two skills meet. */
export const BLOCK_BYTES = 256 * 1024

export interface StoredValue {
  /** JSON text as it was stored. */
  value: string
  version: number
  bytes: number
  updatedAt: Date
}

export interface StoredKey {
  key: string
  version: number
  bytes: number
  updatedAt: Date
}

/** `bytes` of keys and values, `blocks` of BLOCK_BYTES. */
export interface StorageUse {
  skill: string
  keys: number
  bytes: bigint
  blocks: number
}

/** What is stored under a key, or null. */
export async function findValue(tx: Tx, skill: string, key: string): Promise<StoredValue | null> {
  const [row] = await tx<(Omit<StoredValue, 'version'> & { version: bigint })[]>`
    select value, version, bytes, updated_at as "updatedAt" from tools.storage
    where tenant_id = (select core.tenant()) and skill = ${skill} and key = ${key}`
  return row ? { ...row, version: Number(row.version) } : null
}

/** Keys in the order of their UTF-8 bytes, without their values. */
export async function listKeys(
  tx: Tx,
  skill: string,
  { prefix, after, limit }: { prefix: string; after: string; limit: number }
): Promise<StoredKey[]> {
  const rows = await tx<(Omit<StoredKey, 'version'> & { version: bigint })[]>`
    select key, version, bytes, updated_at as "updatedAt" from tools.storage
    where tenant_id = (select core.tenant()) and skill = ${skill}
      and key >= ${prefix} and key > ${after} and starts_with(key, ${prefix})
    order by key limit ${limit}`
  return rows.map((row) => ({ ...row, version: Number(row.version) }))
}

/**
 * Stores `value` under `key`.
 * @param value JSON text
 * @param ifVersion the version that has to be there; 0: none
 * @returns the new version; of one skill every write has a higher one than all before
 * @throws CapabilityError STORAGE_CONFLICT, STORAGE_QUOTA; the transaction must not go on then
 */
export async function setValue(
  tx: Tx,
  limits: StorageOptions,
  { skill, key, value, ifVersion }: { skill: string; key: string; value: string; ifVersion: number | undefined }
): Promise<number> {
  const [use] = await tx<(StorageUse & { version: bigint })[]>`
    insert into tools.storage_use as u (skill, version) values (${skill}, 1)
    on conflict (tenant_id, skill) do update set version = u.version + 1
    returning skill, version, keys, bytes, blocks`
  // Not sent together with the lock: it has to see what the lock's last holder committed.
  const held = await findValue(tx, skill, key)
  const used = must(use, 'the use of a skill')
  holdVersion(held, ifVersion)
  const valueBytes = Buffer.byteLength(value)
  const keys = used.keys + (held ? 0 : 1)
  const before = held ? held.bytes : -Buffer.byteLength(key)
  const bytes = used.bytes + BigInt(valueBytes - before)
  // Less is always allowed, also where an operator lowered the limit below what is there.
  if (keys > used.keys && keys > limits.keys) {
    throw quota(`${skill} has ${used.keys} keys, ${limits.keys} are allowed: delete some`)
  }
  if (bytes > used.bytes && bytes > limits.skillBytes) {
    const wanted = `this write needs ${bytes - used.bytes} more`
    throw quota(`${skill} uses ${used.bytes} of the ${limits.skillBytes} bytes that it may store, ${wanted}`)
  }
  const blocks = Math.ceil(Number(bytes) / BLOCK_BYTES)
  if (blocks > used.blocks) await holdTotal(tx, limits, skill, blocks)
  await Promise.all([
    tx`
      insert into tools.storage as s (skill, key, value, version, bytes)
      values (${skill}, ${key}, ${value}, ${used.version}, ${valueBytes})
      on conflict (tenant_id, skill, key) do update
        set value = excluded.value, version = excluded.version, bytes = excluded.bytes, updated_at = clock_timestamp()`,
    tx`
      update tools.storage_use set keys = ${keys}, bytes = ${bytes}, blocks = ${blocks}
      where tenant_id = (select core.tenant()) and skill = ${skill}`
  ])
  return Number(used.version)
}

/**
 * Removes a key.
 * @returns its last version; null where it was not there
 * @throws CapabilityError STORAGE_CONFLICT
 */
export async function deleteValue(
  tx: Tx,
  skill: string,
  key: string,
  ifVersion?: number
): Promise<{ version: number; bytes: number } | null> {
  const [used] = await lockUse(tx, skill)
  const held = await findValue(tx, skill, key)
  holdVersion(held, ifVersion)
  if (!used || !held) return null
  const bytes = used.bytes - BigInt(held.bytes + Buffer.byteLength(key))
  await Promise.all([
    tx`delete from tools.storage where tenant_id = (select core.tenant()) and skill = ${skill} and key = ${key}`,
    tx`
      update tools.storage_use set keys = keys - 1, bytes = ${bytes}, blocks = ${Math.ceil(Number(bytes) / BLOCK_BYTES)}
      where tenant_id = (select core.tenant()) and skill = ${skill}`
  ])
  return { version: held.version, bytes: held.bytes }
}

/** Removes every key of a skill. @returns what it had used; null for a skill that never stored anything */
export async function clearStorage(tx: Tx, skill: string): Promise<StorageUse | null> {
  const [used] = await lockUse(tx, skill)
  if (!used) return null
  await Promise.all([
    tx`delete from tools.storage where tenant_id = (select core.tenant()) and skill = ${skill}`,
    tx`
      update tools.storage_use set keys = 0, bytes = 0, blocks = 0
      where tenant_id = (select core.tenant()) and skill = ${skill}`
  ])
  return used
}

/** What a skill uses; null where it never stored anything. */
export async function findUse(tx: Tx, skill: string): Promise<StorageUse | null> {
  const [row] = await tx<StorageUse[]>`
    select skill, keys, bytes, blocks from tools.storage_use
    where tenant_id = (select core.tenant()) and skill = ${skill}`
  return row ?? null
}

/** Skills that store something, by name. */
export async function listUse(tx: Tx, { after, limit }: { after: string; limit: number }): Promise<StorageUse[]> {
  return await tx<StorageUse[]>`
    select skill, keys, bytes, blocks from tools.storage_use
    where tenant_id = (select core.tenant()) and skill > ${after} and keys > 0 order by skill limit ${limit}`
}

/** Bytes that the tenant's skills have taken of its total, whole blocks, and how many it has. */
export async function findTotal(tx: Tx, limits: StorageOptions): Promise<{ bytes: number; limit: number }> {
  const { blocks, limit } = await totalBut(tx, limits, null)
  return { bytes: blocks * BLOCK_BYTES, limit }
}

function lockUse(tx: Tx, skill: string) {
  return tx<StorageUse[]>`
    select skill, keys, bytes, blocks from tools.storage_use
    where tenant_id = (select core.tenant()) and skill = ${skill} for update`
}

// Only its number: an answer must not become a way to read what `get` was not granted for.
function holdVersion(held: { version: number } | null, wanted: number | undefined): void {
  const version = held?.version ?? 0
  if (wanted === undefined || wanted === version) return
  const now = held ? `version ${version}` : 'version 0: the key is not there'
  throw new CapabilityError('STORAGE_CONFLICT', `expected version ${wanted}, found ${now}`)
}

// One at a time per tenant, until the end of the transaction. Whoever has the lock holds the row of its own skill already
// and waits for no other's, so there is no circle.
async function holdTotal(tx: Tx, limits: StorageOptions, skill: string, blocks: number): Promise<void> {
  await tx`select pg_advisory_xact_lock(hashtextextended('tools.storage|' || core.tenant()::text, 0))`
  const others = await totalBut(tx, limits, skill)
  const { limit } = others
  if ((others.blocks + blocks) * BLOCK_BYTES <= limit) return
  const used = others.blocks * BLOCK_BYTES
  throw quota(
    `the tenant's other skills use ${used} of the ${limit} bytes that it may store, ${skill} would need ${blocks * BLOCK_BYTES}`
  )
}

async function totalBut(tx: Tx, limits: StorageOptions, skill: string | null) {
  const [row] = await tx<{ blocks: number; plan: string | null }[]>`
    select coalesce(sum(u.blocks), 0)::int as blocks, (select t.plan from core.tenants t where t.tenant_id = core.tenant()) as plan
    from tools.storage_use u where u.tenant_id = (select core.tenant()) and u.skill is distinct from ${skill}`
  const { blocks, plan } = must(row, 'a sum')
  const { tenantBytes } = limits
  return { blocks, limit: tenantBytes[plan ?? 'free'] ?? tenantBytes.free ?? 0 }
}

function quota(message: string): CapabilityError {
  return new CapabilityError('STORAGE_QUOTA', message)
}
