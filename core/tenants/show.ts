import type { InvitationRow } from './invitations.ts'
import type { MemberRow } from './members.ts'
import type { PlatformRow } from './platform.ts'
import type { Invitation, Member, OwnTenant, PlatformTenant } from './schema.ts'
import type { Tenant } from './tenants.ts'

export function showOwn(row: Tenant): OwnTenant {
  const { id, name, slug, plan, settings, agentLimit, cell, region } = row
  return {
    ...{ id, name, slug, plan, settings, agentLimit, cell, region },
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    eraseAt: row.eraseAt?.toISOString() ?? null
  }
}

export function showMember({ userId, email, role, createdAt }: MemberRow): Member {
  return { userId, email, role, createdAt: createdAt.toISOString() }
}

export function showInvitation({ id, email, role, state, invitedBy, createdAt, expiresAt }: InvitationRow): Invitation {
  return { id, email, role, state, invitedBy, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() }
}

export function showPlatform(row: PlatformRow): PlatformTenant {
  const { id, name, slug, plan, agentLimit, cell, region, members, owners, running, queued } = row
  return {
    ...{ id, name, slug, plan, agentLimit, cell, region, state: stateOf(row) },
    suspendedAt: row.suspendedAt?.toISOString() ?? null,
    suspendedReason: row.suspendedReason,
    eraseAt: row.eraseAt?.toISOString() ?? null,
    erasedAt: row.erasedAt?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    ...{ members, owners, running, queued }
  }
}

function stateOf({ erasedAt, eraseAt, suspendedAt }: Tenant): PlatformTenant['state'] {
  if (erasedAt) return 'erased'
  if (eraseAt) return 'deleted'
  return suspendedAt ? 'suspended' : 'active'
}
