import type { Tx } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { TeamFull } from './errors.ts'
import type { PlanTable } from './plans.ts'

/** A tenant's members and what its plan says of them; null = unlimited (also of a plan that the table does not have). */
export interface Team {
  readonly plan: string
  readonly limit: number | null
  readonly members: number
  /** Invitations that may still be accepted. */
  readonly open: number
}

/**
 * Counts the team, and lets nobody else of this tenant count until the transaction ends: whoever adds goes by numbers
 * that still hold when it commits.
 * @param tx of the tenant, or of `db.system`
 */
export async function lockTeam(tx: Tx, plans: PlanTable, tenantId: string): Promise<Team> {
  const [tenant] = await tx<{ plan: string }[]>`
    select plan from core.tenants where tenant_id = ${tenantId} for no key update`
  const { plan } = must(tenant, 'the tenant of a team')
  // A statement of its own: it sees what the lock waited for.
  const [count] = await tx<{ members: number; open: number }[]>`
    select (select count(*)::int from core.member where tenant_id = ${tenantId}) as members,
      (select count(*)::int from core.invitation where tenant_id = ${tenantId}
        and accepted_at is null and revoked_at is null and expires_at > now()) as open`
  const { members, open } = must(count, 'the count of a team')
  return { plan, limit: plans.plans[plan]?.teamMembers ?? null, members, open }
}

/** @throws TeamFull (402) when `used` places leave none */
export function requirePlace({ plan, limit }: Team, used: number): void {
  if (limit !== null && used >= limit) throw new TeamFull(plan, limit, used)
}
