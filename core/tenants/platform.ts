import type { Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import type { Position } from '#core/http/page.ts'
import { TenantOwned } from './errors.ts'
import { type Invited, insertInvitation } from './invitations.ts'
import type { PlatformTenant } from './schema.ts'
import { type Tenant, tenantColumns } from './tenants.ts'

/** A tenant as the platform sees it: its own row and counts, of rows that it is not shown. */
export interface PlatformRow extends Tenant {
  members: number
  owners: number
  running: number
  queued: number
  position: string
}

export interface PlatformFilter {
  state?: PlatformTenant['state'] | undefined
  slug?: string | undefined
}

/** Newest first, one more than `limit` where there is one. @param tx of `db.system` */
export async function listPlatform(
  tx: Tx,
  { state, slug }: PlatformFilter,
  limit: number,
  after: Position | null
): Promise<PlatformRow[]> {
  return await tx<PlatformRow[]>`
    select ${columns(tx)} from core.tenants t
    where ${after ? tx`(created_at, tenant_id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
      and ${state ? stateIs(tx, state) : tx`true`} and ${slug ? tx`slug = ${slug}` : tx`true`}
    order by created_at desc, tenant_id desc limit ${limit + 1}`
}

/** @param tx of `db.system`. @throws NotFound */
export async function findPlatform(tx: Tx, id: string): Promise<PlatformRow> {
  const [row] = await tx<PlatformRow[]>`select ${columns(tx)} from core.tenants t where tenant_id = ${id}`
  if (!row) throw new NotFound('tenant')
  return row
}

export interface PlatformChange {
  plan?: string | undefined
  agentLimit?: number | null | undefined
  cell?: string | undefined
  region?: string | undefined
}

/**
 * @param tx of `db.system`
 * @returns the row before and after
 * @throws NotFound
 */
export async function changePlatform(tx: Tx, id: string, wanted: PlatformChange): Promise<[Tenant, Tenant]> {
  const [before] = await tx<Tenant[]>`
    select ${tenantColumns(tx)} from core.tenants where tenant_id = ${id} and erased_at is null for no key update`
  if (!before) throw new NotFound('tenant')
  const { plan = before.plan, agentLimit = before.agentLimit, cell = before.cell, region = before.region } = wanted
  const [after] = await tx<Tenant[]>`
    update core.tenants set plan = ${plan}, agent_limit = ${agentLimit}, cell = ${cell}, region = ${region}
    where tenant_id = ${id} returning ${tenantColumns(tx)}`
  if (!after) throw new NotFound('tenant')
  return [before, after]
}

/** SQL: of `core.tenants t`, that it goes on and nobody could administer it. */
export function isOwnerless(tx: Tx) {
  return tx`t.erase_at is null
    and not exists (select from core.member m where m.tenant_id = t.tenant_id and m.role = 'owner')
    and not exists (select from core.invitation i where i.tenant_id = t.tenant_id and i.role = 'owner'
      and i.accepted_at is null and i.revoked_at is null and i.expires_at > now())
    and not exists (select from core.api_key k where k.tenant_id = t.tenant_id and '*' = any (k.scopes)
      and k.user_id is null and k.revoked_at is null and coalesce(k.expires_at > now(), true))`
}

/**
 * Invites an owner into a tenant that nobody could administer, and into no other: who names an owner could be one.
 * @param tx of `db.system`
 * @throws NotFound, TenantOwned (409)
 */
export async function inviteOwner(tx: Tx, id: string, email: string, by: string): Promise<Invited> {
  const [row] = await tx<{ ownerless: boolean }[]>`
    select (${isOwnerless(tx)}) as ownerless from core.tenants t where tenant_id = ${id} for no key update`
  if (!row) throw new NotFound('tenant')
  if (!row.ownerless) throw new TenantOwned()
  return await insertInvitation(tx, id, { email, role: 'owner' }, by)
}

function stateIs(tx: Tx, state: PlatformTenant['state']) {
  switch (state) {
    case 'erased':
      return tx`erased_at is not null`
    case 'deleted':
      return tx`erase_at is not null and erased_at is null`
    case 'suspended':
      return tx`suspended_at is not null and erase_at is null`
    default:
      return tx`suspended_at is null`
  }
}

function columns(tx: Tx) {
  return tx`${tenantColumns(tx)}, created_at::text as position,
    (select count(*)::int from core.member m where m.tenant_id = t.tenant_id) as members,
    (select count(*)::int from core.member m where m.tenant_id = t.tenant_id and m.role = 'owner') as owners,
    (select coalesce(sum(running), 0)::int from core.slot s where s.tenant_id = t.tenant_id) as running,
    (select coalesce(sum(queued), 0)::int from core.slot s where s.tenant_id = t.tenant_id) as queued`
}
