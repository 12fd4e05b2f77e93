import type { Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import { TenantErased, TenantNotDeleted, TenantZeroStays } from './errors.ts'
import { findTenant, TENANT_ZERO, type Tenant, tenantColumns } from './tenants.ts'

// What may become of a tenant: active <-> suspended by the platform, active or suspended -> deleted (suspended until
// eraseAt) -> erased. All as agentos_system: a tenant cannot lift its own suspension.

/** Who deletes or restores: an owner undoes only what owners did. */
export type Party = 'owner' | 'platform'

/**
 * Stops everything of a tenant within 5 s. A deleted one stays deleted; a second time the new reason counts.
 * @throws NotFound, TenantZeroStays (409), TenantErased (410)
 */
export async function suspendTenant(tx: Tx, id: string, reason: string): Promise<Tenant> {
  await lockLiving(tx, id)
  return await change(
    tx,
    id,
    tx`suspended_at = coalesce(suspended_at, now()), suspended_by = 'platform', suspended_reason = ${reason}`
  )
}

/**
 * Ends the platform's suspension: what stood still goes on, unless the tenant is deleted. Otherwise changes nothing.
 * @throws NotFound, TenantZeroStays (409), TenantErased (410)
 */
export async function resumeTenant(tx: Tx, id: string): Promise<Tenant> {
  const { suspendedBy, eraseAt } = await lockLiving(tx, id)
  if (suspendedBy !== 'platform') return await change(tx, id, tx`suspended_reason = null`)
  return await change(tx, id, eraseAt === null ? running(tx) : tx`suspended_by = 'deletion', suspended_reason = null`)
}

/**
 * Suspends the tenant and has it erased after the grace time. Deleted again, the platform's word counts: an owner
 * changes nothing of a deletion that is under way.
 * @param graceMs from now
 * @throws NotFound, TenantZeroStays (409), TenantErased (410)
 */
export async function deleteTenant(tx: Tx, id: string, by: Party, graceMs: number): Promise<Tenant> {
  const tenant = await lockLiving(tx, id)
  if (by === 'owner' && tenant.eraseAt !== null) return tenant
  return await change(
    tx,
    id,
    tx`erase_at = now() + ${graceMs} * interval '1 ms', erase_by = ${by},
       suspended_at = coalesce(suspended_at, now()), suspended_by = coalesce(suspended_by, 'deletion')`
  )
}

/**
 * Undoes a deletion within its grace time. What the platform suspended stays suspended.
 * @throws NotFound, TenantZeroStays (409), TenantNotDeleted (409), TenantErased (410)
 */
export async function restoreTenant(tx: Tx, id: string, by: Party): Promise<Tenant> {
  const { suspendedBy, eraseAt, eraseBy } = await lockLiving(tx, id)
  if (eraseAt === null || (by === 'owner' && eraseBy !== 'owner')) throw new TenantNotDeleted()
  const undone = tx`erase_at = null, erase_by = null`
  return await change(tx, id, suspendedBy === 'deletion' ? tx`${undone}, ${running(tx)}` : undone)
}

// Erasing may have begun once the time is over: from then on nothing is undone.
async function lockLiving(tx: Tx, id: string): Promise<Tenant> {
  if (id === TENANT_ZERO) throw new TenantZeroStays()
  await tx`select from core.tenants where tenant_id = ${id} for no key update`
  // A statement of its own, by the clock: now() is when this transaction began, and the lock may have been waited for.
  const [row] = await tx<{ erasing: boolean }[]>`
    select coalesce(erase_at <= clock_timestamp(), false) as erasing from core.tenants where tenant_id = ${id}`
  if (!row) throw new NotFound('tenant')
  if (row.erasing) throw new TenantErased()
  const tenant = await findTenant(tx, id)
  if (!tenant) throw new NotFound('tenant')
  return tenant
}

function running(tx: Tx) {
  return tx`suspended_at = null, suspended_by = null, suspended_reason = null`
}

async function change(tx: Tx, id: string, set: ReturnType<typeof running>): Promise<Tenant> {
  const [tenant] = await tx<Tenant[]>`
    update core.tenants set ${set} where tenant_id = ${id} returning ${tenantColumns(tx)}`
  if (!tenant) throw new NotFound('tenant')
  return tenant
}
