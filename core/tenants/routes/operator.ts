import type { FastifyRequest } from 'fastify'
import { type AuditEntry, auditAs } from '#core/audit/audit.ts'
import { actorOf } from '#core/auth/actor.ts'
import type { Actor, Tx } from '#core/db/types.ts'
import { RequestInvalid } from '#core/errors.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import type { PlatformRow } from '#core/tenants/platform.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'

// What the routes of the platform have in common.

export const tags = ['platform']
export const config = { permission: 'platform:tenants', audited: true }

export function operator(request: FastifyRequest): Actor {
  return { ...actorOf(request.auth, { requestId: request.id, from: request.ip }), kind: 'operator' }
}

/** One line in the touched tenant's log. What is being erased must not get new rows: that is noted with the operator. */
export async function note(
  tx: Tx,
  request: FastifyRequest,
  { id, eraseAt, erasedAt }: PlatformRow,
  entry: Pick<AuditEntry, 'action' | 'details'>
): Promise<void> {
  const going = erasedAt !== null || (eraseAt !== null && eraseAt.getTime() <= request.server.clock.now())
  await auditAs(tx, going ? TENANT_ZERO : id, operator(request), { ...entry, subject: `tenant:${id}` })
}

/** @throws RequestInvalid for a plan that the table does not have */
export function requirePlan({ plans }: PlanTable, plan: string | undefined): void {
  const names = Object.keys(plans)
  if (plan === undefined || names.length === 0 || names.includes(plan)) return
  throw new RequestInvalid([{ pointer: '/plan', detail: `is none of ${names.join(', ')}` }])
}
