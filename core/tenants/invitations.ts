import { createHash, randomBytes } from 'node:crypto'
import { audit, auditAs } from '#core/audit/audit.ts'
import { causeOf } from '#core/auth/actor.ts'
import type { Identity } from '#core/auth/auth.ts'
import type { Role } from '#core/auth/roles.ts'
import type { Actor, Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import type { Position } from '#core/http/page.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { InvitationExists, InvitationInvalid, MemberExists } from './errors.ts'
import type { PlanTable } from './plans.ts'
import { requireMayGive } from './ranks.ts'
import { lockTeam, requirePlace } from './team.ts'

export interface InvitationRow {
  id: string
  email: string
  role: Role
  state: 'open' | 'accepted' | 'revoked' | 'expired'
  invitedBy: string
  createdAt: Date
  expiresAt: Date
  position: string
}

export interface WantedInvitation {
  email: string
  role: Role
}

/** A new invitation; `token` is shown once and stored nowhere. */
export interface Invited {
  row: InvitationRow
  token: Secret
}

/**
 * Invites somebody into the transaction's tenant, within the plan's team limit.
 * @throws RoleTooHigh (403), MemberExists, InvitationExists (409), TeamFull (402)
 */
export async function invite(tx: Tx, plans: PlanTable, by: Identity, wanted: WantedInvitation): Promise<Invited> {
  requireMayGive(by, wanted.role)
  const team = await lockTeam(tx, plans, by.tenantId)
  // The lock may have been waited for: who was put out or down meanwhile invites nobody.
  if (by.userId !== undefined) requireMayGive(await asOfNow(tx, by), wanted.role)
  const [member] = await tx`select 1 from core.member where email = ${wanted.email}`
  if (member) throw new MemberExists()
  const [open] = await tx<{ id: string }[]>`
    select id from core.invitation
    where email = ${wanted.email} and accepted_at is null and revoked_at is null and expires_at > now()`
  if (open) throw new InvitationExists(open.id)
  requirePlace(team, team.members + team.open)
  const invited = await insertInvitation(tx, by.tenantId, wanted, causeOf(by))
  await audit(tx, entryOf('invitation.created', invited.row))
  return invited
}

async function asOfNow(tx: Tx, { role: _role, ...by }: Identity): Promise<Identity> {
  const [member] = await tx<{ role: Role }[]>`select role from core.member where user_id = ${must(by.userId, 'a user')}`
  return { ...by, ...(member ? { role: member.role } : { scopes: new Set() }) }
}

/** @param tx of the tenant, or of `db.system` */
export async function insertInvitation(
  tx: Tx,
  tenantId: string,
  { email, role }: WantedInvitation,
  by: string
): Promise<Invited> {
  const token = new Secret(`inv_${randomBytes(32).toString('base64url')}`)
  const rows = await tx<InvitationRow[]>`
    insert into core.invitation (tenant_id, id, email, role, token_hash, invited_by)
    values (${tenantId}, ${newId()}, ${email}, ${role}, ${hashOf(token.reveal())}, ${by}) returning ${columns(tx)}`
  return { row: must(rows[0], 'the new invitation'), token }
}

/** Newest first, one more than `limit` where there is one. */
export async function listInvitations(tx: Tx, limit: number, after: Position | null): Promise<InvitationRow[]> {
  return await tx<InvitationRow[]>`
    select ${columns(tx)} from core.invitation
    where ${after ? tx`(created_at, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by created_at desc, id desc limit ${limit + 1}`
}

/** A second time, or after it was accepted, changes nothing. @throws NotFound */
export async function revokeInvitation(tx: Tx, id: string): Promise<void> {
  const [row] = await tx<InvitationRow[]>`select ${columns(tx)} from core.invitation where id = ${id} for update`
  if (!row) throw new NotFound('invitation')
  if (row.state !== 'open') return
  await tx`update core.invitation set revoked_at = now() where id = ${id}`
  await audit(tx, entryOf('invitation.revoked', row))
}

/**
 * The address that an open invitation is for: looked at before anybody's password costs work.
 * @param tx of `db.system`
 * @throws InvitationInvalid (410)
 */
export async function invitedAddress(tx: Tx, token: string): Promise<string> {
  const [found] = await tx<InvitationRow[]>`
    select ${columns(tx)} from core.invitation where token_hash = ${hashOf(token)}`
  if (found?.state !== 'open') throw new InvitationInvalid()
  return found.email
}

/**
 * Takes back the open invitations that a member made, himself or by a key that acts for him: who is put out must not
 * have left himself a door.
 * @param tx of the tenant, which holds its row's lock (team.ts): an invitation is either made before or finds him gone
 * @returns how many
 */
export async function revokeInvitationsBy(tx: Tx, userId: string): Promise<number> {
  const done = await tx`
    update core.invitation set revoked_at = now()
    where accepted_at is null and revoked_at is null
      and (invited_by = ${`user:${userId}`}
        or invited_by in (select 'key:' || k.id from core.api_key k where k.user_id = ${userId}))`
  return done.count
}

/** What an invitation leads into. */
export interface Accepted {
  tenant: { id: string; name: string; slug: string }
  userId: string
  role: Role
}

/**
 * Takes an invitation: once, by whoever holds its token, while its tenant runs and its plan has room.
 * @param tx of `db.system`: whoever accepts is in no tenant yet
 * @param userOf finds or makes the user, in this transaction
 * @throws InvitationInvalid (410), MemberExists (409), TeamFull (402), and what `userOf` throws
 */
export async function acceptInvitation(
  tx: Tx,
  plans: PlanTable,
  token: string,
  userOf: () => Promise<string>,
  from: Omit<Actor, 'kind' | 'id'>
): Promise<Accepted> {
  const [of] = await tx<{ tenantId: string }[]>`
    select tenant_id as "tenantId" from core.invitation where token_hash = ${hashOf(token)}`
  if (!of) throw new InvitationInvalid()
  const { tenantId } = of
  // The tenant's row first, as whoever puts members out does: the other way round the two would wait for each other.
  const team = await lockTeam(tx, plans, tenantId)
  const [found] = await tx<InvitationRow[]>`
    select ${columns(tx)} from core.invitation where token_hash = ${hashOf(token)} for update`
  if (found?.state !== 'open') throw new InvitationInvalid()
  const { id, email, role } = found
  const [tenant] = await tx<Accepted['tenant'][]>`
    select tenant_id as id, name, slug from core.tenants where tenant_id = ${tenantId} and suspended_at is null`
  if (!tenant) throw new InvitationInvalid()
  // Its own place was counted when it was made; a smaller plan since then counts the members that are there.
  requirePlace(team, team.members)
  const userId = await userOf()
  const added = await tx`
    insert into core.member (tenant_id, user_id, role, email) values (${tenantId}, ${userId}, ${role}, ${email})
    on conflict do nothing`
  if (added.count === 0) throw new MemberExists()
  await tx`
    update core.invitation set accepted_at = now(), accepted_by = ${userId} where tenant_id = ${tenantId} and id = ${id}`
  const actor: Actor = { kind: 'user', id: userId, ...from }
  await auditAs(tx, tenantId, actor, {
    action: 'member.added',
    subject: `member:${userId}`,
    after: { role },
    details: { role, invitation: id }
  })
  return { tenant, userId, role }
}

function entryOf(action: string, { id, role, email }: InvitationRow) {
  // The address stands in the row, not in the log: an erased row takes it along.
  return { action, subject: `invitation:${id}`, after: { role, email }, details: { role } }
}

// 256 random bits: nothing to stretch, and nothing to compare in constant time but a hash.
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function columns(tx: Tx) {
  return tx`id, email, role, invited_by as "invitedBy", created_at as "createdAt", expires_at as "expiresAt",
    created_at::text as position, case when accepted_at is not null then 'accepted' when revoked_at is not null then 'revoked'
      when expires_at <= now() then 'expired' else 'open' end as state`
}
