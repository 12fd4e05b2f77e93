import { audit } from '#core/audit/audit.ts'
import type { Tx } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { TenantChanged } from './errors.ts'
import { findTenant, type Tenant, tenantColumns } from './tenants.ts'

export interface OwnChange {
  name?: string | undefined
  settings?: Record<string, unknown> | undefined
  /** As read; ISO 8601 with milliseconds. */
  updatedAt?: string | undefined
}

/**
 * Changes what a tenant may change of itself.
 * @param tx of the tenant
 * @throws TenantChanged (409) when `updatedAt` is not the one in force
 */
export async function changeTenant(tx: Tx, tenantId: string, wanted: OwnChange): Promise<Tenant> {
  await tx`select from core.tenants where tenant_id = ${tenantId} for no key update`
  const before = must(await findTenant(tx, tenantId), 'the own tenant')
  const known = before.updatedAt.toISOString()
  if (wanted.updatedAt !== undefined && Date.parse(wanted.updatedAt) !== before.updatedAt.getTime()) {
    throw new TenantChanged(known)
  }
  const { name = before.name, settings = before.settings } = wanted
  const [after] = await tx<Tenant[]>`
    update core.tenants set name = ${name}, settings = ${tx.json(settings as never)} where tenant_id = ${tenantId}
    returning ${tenantColumns(tx)}`
  await audit(tx, {
    action: 'tenant.updated',
    subject: `tenant:${tenantId}`,
    before: { name: before.name, settings: before.settings },
    after: { name, settings }
  })
  return must(after, 'the own tenant')
}
