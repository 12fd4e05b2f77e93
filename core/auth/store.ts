import type { Role } from '#core/auth/roles.ts'
import type { Tx } from '#core/db/types.ts'
import type { Position } from '#core/http/page.ts'

/** A key as its owner may see it. `position` is `created_at` as Postgres writes it, for cursors. */
export interface KeyRow {
  id: string
  prefix: string
  name: string
  scopes: string[]
  userId: string | null
  /** CIDR; empty: from everywhere. */
  allowedIps: string[]
  createdAt: Date
  expiresAt: Date | null
  revokedAt: Date | null
  lastUsedAt: Date | null
  rotatedAt: Date | null
  /** Until when the secret before the last rotation works. */
  oldSecretUntil: Date | null
  position: string
}

/** Whether a tenant stands still, and why. */
export interface Suspension {
  suspendedBy: 'platform' | 'deletion' | null
  suspendedReason: string | null
}

/** What authentication needs to know of a key. `stale`: its last use should be noted. */
export interface KeyRecord extends Suspension {
  id: string
  tenantId: string
  tenantSlug: string
  hash: Uint8Array
  /** Of the secret before the last rotation, while it works. */
  oldHash: Uint8Array | null
  scopes: string[]
  allowedIps: string[]
  userId: string | null
  /** Of the member for whom the key acts; null when they are gone. */
  role: Role | null
  platform: string[] | null
  expiresAt: Date | null
  oldSecretUntil: Date | null
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
  allowedIps: readonly string[]
}

export async function insertKey(tx: Tx, key: NewKeyRow): Promise<KeyRow[]> {
  const { id, prefix, hash, name, scopes, expiresAt, userId, allowedIps } = key
  return await tx<KeyRow[]>`
    insert into core.api_key (id, prefix, hash, name, scopes, expires_at, user_id, allowed_ips)
    values (${id}, ${prefix}, ${Buffer.from(hash)}, ${name}, ${[...scopes]}, ${expiresAt}, ${userId}, ${[...allowedIps]})
    returning ${columns(tx)}`
}

/** Newest first, one more than `limit` where there is one. */
export async function listKeys(tx: Tx, limit: number, after: Position | null): Promise<KeyRow[]> {
  return await tx<KeyRow[]>`
    select ${columns(tx)} from core.api_key
    where ${after ? tx`(created_at, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by created_at desc, id desc limit ${limit + 1}`
}

/** @param lock where it is changed next */
export async function findKey(tx: Tx, id: string, lock = false): Promise<KeyRow | null> {
  const rows = await tx<KeyRow[]>`
    select ${columns(tx)} from core.api_key where id = ${id} ${lock ? tx`for update` : tx``}`
  return rows[0] ?? null
}

/** The row after it; the secret before works for `overlapMs` more, the one before that no longer. */
export async function replaceSecret(tx: Tx, id: string, hash: Uint8Array, overlapMs: number): Promise<KeyRow[]> {
  return await tx<KeyRow[]>`
    update core.api_key
    set hash = ${Buffer.from(hash)}, rotated_at = now(),
        old_hash = case when ${overlapMs}::bigint > 0 then hash end,
        old_hash_until = case when ${overlapMs}::bigint > 0 then now() + ${overlapMs} * interval '1 ms' end
    where id = ${id} returning ${columns(tx)}`
}

export async function markRevoked(tx: Tx, id: string): Promise<void> {
  await tx`update core.api_key set revoked_at = now() where id = ${id}`
}

/** @param tx of `db.system`: there is no tenant before the key is known */
export async function findByPrefix(tx: Tx, prefix: string): Promise<KeyRecord | null> {
  const rows = await tx<KeyRecord[]>`
    select k.id, k.tenant_id as "tenantId", t.slug as "tenantSlug", k.hash, k.scopes, k.allowed_ips as "allowedIps",
           k.user_id as "userId", m.role, m.platform, k.expires_at as "expiresAt", k.old_hash_until as "oldSecretUntil",
           case when k.old_hash_until > now() then k.old_hash end as "oldHash",
           coalesce(k.expires_at <= now(), false) as expired, k.revoked_at is not null as revoked,
           coalesce(k.last_used_at < now() - interval '1 minute', true) as stale,
           t.suspended_by as "suspendedBy", t.suspended_reason as "suspendedReason"
    from core.api_key k
    join core.tenants t using (tenant_id)
    left join core.member m on m.tenant_id = k.tenant_id and m.user_id = k.user_id
    where k.prefix = ${prefix}`
  return rows[0] ?? null
}

/** What a user is in one tenant. */
export interface Membership extends Suspension {
  tenantId: string
  slug: string
  name: string
  role: Role
  platform: string[]
}

/** The tenants of a user, the first joined first. @param tx of `db.system`: which of them is meant is not known yet */
export async function membershipsOf(tx: Tx, userId: string): Promise<Membership[]> {
  return await tx<Membership[]>`
    select m.tenant_id as "tenantId", t.slug, t.name, m.role, m.platform, t.suspended_by as "suspendedBy",
           t.suspended_reason as "suspendedReason"
    from core.member m join core.tenants t using (tenant_id)
    where m.user_id = ${userId} order by m.created_at, m.tenant_id limit 1000`
}

/** @param tx of `db.system`. At most one write a minute and key, however many hosts see it used. */
export async function noteUse(tx: Tx, prefix: string): Promise<void> {
  await tx`
    update core.api_key set last_used_at = now()
    where prefix = ${prefix} and coalesce(last_used_at < now() - interval '1 minute', true)`
}

function columns(tx: Tx) {
  return tx`id, prefix, name, scopes, user_id as "userId", allowed_ips as "allowedIps", created_at as "createdAt",
            expires_at as "expiresAt", revoked_at as "revokedAt", last_used_at as "lastUsedAt", rotated_at as "rotatedAt",
            case when old_hash_until > now() then old_hash_until end as "oldSecretUntil", created_at::text as position`
}
