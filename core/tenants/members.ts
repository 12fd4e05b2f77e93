import { audit } from '#core/audit/audit.ts'
import type { Identity } from '#core/auth/auth.ts'
import type { Role } from '#core/auth/roles.ts'
import type { Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import type { Position } from '#core/http/page.ts'
import { OwnerRequired } from './errors.ts'
import { revokeInvitationsBy } from './invitations.ts'
import { isBelow, requireMayGive } from './ranks.ts'

/** `position` is `created_at` as Postgres writes it, for cursors. */
export interface MemberRow {
  userId: string
  email: string | null
  role: Role
  createdAt: Date
  position: string
}

/** Newest first, one more than `limit` where there is one. */
export async function listMembers(tx: Tx, limit: number, after: Position | null): Promise<MemberRow[]> {
  return await tx<MemberRow[]>`
    select ${columns(tx)} from core.member
    where ${after ? tx`(created_at, user_id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by created_at desc, user_id desc limit ${limit + 1}`
}

/** A tenant that somebody is in. `position` is when he joined; `role` null: a key that acts for no member. */
export interface JoinedRow {
  tenantId: string
  slug: string
  name: string
  role: string | null
  suspendedBy: string | null
  position: string
}

/** A user's tenants, the first joined first, one more than `limit` where there is one. @param tx of `db.system` */
export async function listJoined(tx: Tx, userId: string, limit: number, after: Position | null): Promise<JoinedRow[]> {
  return await tx<JoinedRow[]>`
    select m.tenant_id as "tenantId", t.slug, t.name, m.role, t.suspended_by as "suspendedBy",
      m.created_at::text as position
    from core.member m join core.tenants t using (tenant_id)
    where m.user_id = ${userId}
      and ${after ? tx`(m.created_at, m.tenant_id) > (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by m.created_at, m.tenant_id limit ${limit + 1}`
}

/**
 * Gives a member another role; a lower one takes back the open invitations that he made.
 * @throws NotFound, RoleTooHigh (403: of the old role, the new one, or both), OwnerRequired (409)
 */
export async function setRole(tx: Tx, by: Identity, userId: string, role: Role): Promise<MemberRow> {
  const before = await lockMember(tx, by, userId)
  requireMayGive(by, before.role, role)
  if (before.role === role) return before
  await keepingAnOwner(() => tx`update core.member set role = ${role} where user_id = ${userId}`)
  const invitationsRevoked = isBelow(role, before.role) ? await revokeInvitationsBy(tx, userId) : 0
  await audit(tx, {
    action: 'member.role_changed',
    subject: `member:${userId}`,
    before: { role: before.role },
    after: { role },
    details: { from: before.role, to: role, invitationsRevoked }
  })
  return { ...before, role }
}

/**
 * Takes a member out, and revokes the keys that act for him and the open invitations that he or they made.
 * @returns the prefixes of those keys, for the cache
 * @throws NotFound, RoleTooHigh (403), OwnerRequired (409)
 */
export async function removeMember(tx: Tx, by: Identity, userId: string): Promise<string[]> {
  const { role } = await lockMember(tx, by, userId)
  requireMayGive(by, role)
  await keepingAnOwner(() => tx`delete from core.member where user_id = ${userId}`)
  const keys = await tx<{ prefix: string }[]>`
    update core.api_key set revoked_at = now() where user_id = ${userId} and revoked_at is null returning prefix`
  const invitationsRevoked = await revokeInvitationsBy(tx, userId)
  await audit(tx, {
    action: 'member.removed',
    subject: `member:${userId}`,
    before: { role },
    details: { role, keysRevoked: keys.length, invitationsRevoked }
  })
  return keys.map(({ prefix }) => prefix)
}

// The tenant's row first (team.ts): who invites or accepts goes by members that stay until he has committed.
async function lockMember(tx: Tx, by: Identity, userId: string): Promise<MemberRow> {
  await tx`select from core.tenants where tenant_id = ${by.tenantId} for no key update`
  const [row] = await tx<MemberRow[]>`select ${columns(tx)} from core.member where user_id = ${userId} for update`
  if (!row) throw new NotFound('member')
  return row
}

// core.keep_an_owner (sql/0005) raises TO001.
async function keepingAnOwner(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'TO001' ? new OwnerRequired() : error
  }
}

function columns(tx: Tx) {
  return tx`user_id as "userId", email, role, created_at as "createdAt", created_at::text as position`
}
