import { z } from 'zod'
import type { Tx } from '#core/db/types.ts'
import { RequestInvalid } from '#core/errors.ts'
import { fieldErrors } from '#core/http/validation.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { TenantSlugTaken } from './errors.ts'
import { Settings, Slug } from './schema.ts'

/** The operator's own tenant. A fixed id: two hosts that boot at once make the same one. */
export const TENANT_ZERO = '00000000-0000-7000-8000-000000000000'

export const NewTenant = z.strictObject({
  id: z.uuid().optional(),
  name: z.string().min(1).max(200),
  slug: Slug,
  plan: z.string().min(1),
  settings: Settings.optional(),
  agentLimit: z.number().int().nonnegative().optional(),
  cell: z.string().min(1).optional(),
  region: z.string().min(1).optional()
})
export type NewTenant = z.input<typeof NewTenant>

export interface Tenant {
  id: string
  name: string
  slug: string
  plan: string
  settings: Record<string, unknown>
  agentLimit: number | null
  cell: string
  region: string
  createdAt: Date
  updatedAt: Date
  suspendedAt: Date | null
  /** `deletion`: the tenant is to be erased at `eraseAt`. */
  suspendedBy: 'platform' | 'deletion' | null
  suspendedReason: string | null
  eraseAt: Date | null
  eraseBy: 'owner' | 'platform' | null
  erasedAt: Date | null
}

/**
 * Makes a tenant; triggers of the other parts add their rows (stream, slots) in the same statement.
 * @param tx of `db.system`
 * @param wanted without `id` a new one is made
 * @throws RequestInvalid, TenantSlugTaken (409, also for a taken id)
 */
export async function createTenant(tx: Tx, wanted: NewTenant): Promise<Tenant> {
  const parsed = NewTenant.safeParse(wanted)
  if (!parsed.success) throw new RequestInvalid(fieldErrors(parsed.error))
  const { id = newId(), name, slug, plan, settings = {}, agentLimit = null } = parsed.data
  const { cell = 'default', region = 'default' } = parsed.data
  const rows = await tx<Tenant[]>`
    insert into core.tenants (tenant_id, name, slug, plan, settings, agent_limit, cell, region)
    values (${id}, ${name}, ${slug}, ${plan}, ${tx.json(settings)}, ${agentLimit}, ${cell}, ${region})
    on conflict do nothing
    returning ${tenantColumns(tx)}`
  if (rows.length === 0) throw new TenantSlugTaken(slug)
  return must(rows[0], 'the new tenant')
}

/** The tenant of this id, or null. In a tenant's transaction only its own is there. */
export async function findTenant(tx: Tx, id: string): Promise<Tenant | null> {
  const rows = await tx<Tenant[]>`select ${tenantColumns(tx)} from core.tenants where tenant_id = ${id}`
  return rows[0] ?? null
}

/** @param tx of `db.system`, or of the tenant itself */
export async function findTenantBySlug(tx: Tx, slug: string): Promise<Tenant | null> {
  const rows = await tx<Tenant[]>`select ${tenantColumns(tx)} from core.tenants where slug = ${slug}`
  return rows[0] ?? null
}

export function tenantColumns(tx: Tx) {
  return tx`tenant_id as id, name, slug, plan, settings, agent_limit as "agentLimit", cell, region,
            created_at as "createdAt", updated_at as "updatedAt", suspended_at as "suspendedAt",
            suspended_by as "suspendedBy", suspended_reason as "suspendedReason", erase_at as "eraseAt",
            erase_by as "eraseBy", erased_at as "erasedAt"`
}

/** Which cell (database and hosts) and which region a tenant lives in; null when there is no such tenant. */
export interface Place {
  cell: string
  region: string
}

/** @param tx of `db.system`, or of the tenant itself about itself */
export async function locate(tx: Tx, tenantId: string): Promise<Place | null> {
  const rows = await tx<Place[]>`select cell, region from core.locate(${tenantId})`
  return rows[0] ?? null
}
