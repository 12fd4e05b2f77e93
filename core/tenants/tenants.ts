import { z } from 'zod'
import type { Tx } from '#core/db/types.ts'
import { defineError, RequestInvalid } from '#core/errors.ts'
import { fieldErrors } from '#core/http/validation.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'

/** The operator's own tenant. A fixed id: two hosts that boot at once make the same one. */
export const TENANT_ZERO = '00000000-0000-7000-8000-000000000000'

export const TenantSlugTaken = defineError(
  'TENANT_SLUG_TAKEN',
  409,
  (slug: string) => `a tenant with the slug "${slug}" exists already`
)

export const NewTenant = z.strictObject({
  id: z.uuid().optional(),
  name: z.string().min(1).max(200),
  slug: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'lower case letters, digits and inner hyphens, 1 to 63'),
  plan: z.string().min(1),
  settings: z.record(z.string(), z.json()).optional(),
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
    returning ${columns(tx)}`
  if (rows.length === 0) throw new TenantSlugTaken(slug)
  return must(rows[0], 'the new tenant')
}

/** The tenant of this id, or null. In a tenant's transaction only its own is there. */
export async function findTenant(tx: Tx, id: string): Promise<Tenant | null> {
  const rows = await tx<Tenant[]>`select ${columns(tx)} from core.tenants where tenant_id = ${id}`
  return rows[0] ?? null
}

/** @param tx of `db.system`, or of the tenant itself */
export async function findTenantBySlug(tx: Tx, slug: string): Promise<Tenant | null> {
  const rows = await tx<Tenant[]>`select ${columns(tx)} from core.tenants where slug = ${slug}`
  return rows[0] ?? null
}

function columns(tx: Tx) {
  return tx`tenant_id as id, name, slug, plan, settings, agent_limit as "agentLimit", cell, region,
            created_at as "createdAt"`
}
