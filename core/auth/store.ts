import type { Tx } from '#core/db/types.ts'
import type { Position } from '#core/http/page.ts'

/** A key as its owner may see it. `position` is `created_at` as Postgres writes it, for cursors. */
export interface KeyRow {
  id: string
  prefix: string
  name: string
  scopes: string[]
  userId: string | null
  createdAt: Date
  expiresAt: Date | null
  revokedAt: Date | null
  lastUsedAt: Date | null
  position: string
}

/** What authentication needs to know of a key. `stale`: its last use should be noted. */
export interface KeyRecord {
  id: string
  tenantId: string
  tenantSlug: string
  hash: Uint8Array
  scopes: string[]
  userId: string | null
  expired: boolean
  revoked: boolean
  stale: boolean
}

export interface NewKeyRow {
  id: string
  prefix: string
  hash: Uint8Array
  name: string
  scopes: readonly string[]
  expiresAt: Date | null
  userId: string | null
}

export async function insertKey(tx: Tx, key: NewKeyRow): Promise<KeyRow[]> {
  return await tx<KeyRow[]>`
    insert into core.api_key (id, prefix, hash, name, scopes, expires_at, user_id)
    values (${key.id}, ${key.prefix}, ${Buffer.from(key.hash)}, ${key.name}, ${[...key.scopes]}, ${key.expiresAt}, ${key.userId})
    returning ${columns(tx)}`
}

/** Newest first, one more than `limit` where there is one. */
export async function listKeys(tx: Tx, limit: number, after: Position | null): Promise<KeyRow[]> {
  return await tx<KeyRow[]>`
    select ${columns(tx)} from core.api_key
    where ${after ? tx`(created_at, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by created_at desc, id desc limit ${limit + 1}`
}

/** @returns the prefix, for the cache; null when this tenant has no such key. A second time changes nothing. */
export async function revokeKey(tx: Tx, id: string): Promise<string | null> {
  const rows = await tx<{ prefix: string }[]>`
    update core.api_key set revoked_at = coalesce(revoked_at, now()) where id = ${id} returning prefix`
  return rows[0]?.prefix ?? null
}

/** @param tx of `db.system`: there is no tenant before the key is known */
export async function findByPrefix(tx: Tx, prefix: string): Promise<KeyRecord | null> {
  const rows = await tx<KeyRecord[]>`
    select k.id, k.tenant_id as "tenantId", t.slug as "tenantSlug", k.hash, k.scopes, k.user_id as "userId",
           coalesce(k.expires_at <= now(), false) as expired, k.revoked_at is not null as revoked,
           coalesce(k.last_used_at < now() - interval '1 minute', true) as stale
    from core.api_key k join core.tenants t using (tenant_id)
    where k.prefix = ${prefix}`
  return rows[0] ?? null
}

/** @param tx of `db.system`. At most one write a minute and key, however many hosts see it used. */
export async function noteUse(tx: Tx, prefix: string): Promise<void> {
  await tx`
    update core.api_key set last_used_at = now()
    where prefix = ${prefix} and coalesce(last_used_at < now() - interval '1 minute', true)`
}

function columns(tx: Tx) {
  return tx`id, prefix, name, scopes, user_id as "userId", created_at as "createdAt", expires_at as "expiresAt",
            revoked_at as "revokedAt", last_used_at as "lastUsedAt", created_at::text as position`
}
