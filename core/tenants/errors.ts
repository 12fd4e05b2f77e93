import { defineError } from '#core/errors.ts'

/** Everything of the tenant stands still; the text says what the operator said. */
export const TenantSuspended = defineError('TENANT_SUSPENDED', 403, (reason: string | null = null) => ({
  message: reason === null ? 'this tenant is suspended' : `this tenant is suspended: ${reason}`,
  details: { reason }
}))

export const TenantSlugTaken = defineError(
  'TENANT_SLUG_TAKEN',
  409,
  (slug: string) => `a tenant with the slug "${slug}" exists already`
)

/** The `updatedAt` that the caller has seen is not the tenant's any more. */
export const TenantChanged = defineError('TENANT_CHANGED', 409, (updatedAt: string) => ({
  message: 'somebody changed the tenant meanwhile: read it again',
  details: { updatedAt }
}))

/** 402: only another plan, or one member less, helps. */
export const TeamFull = defineError('TENANT_TEAM_FULL', 402, (plan: string, limit: number, used: number) => ({
  message: `the plan "${plan}" has ${limit} team members, open invitations included, and ${used} are taken`,
  details: { plan, limit, used, resetsAt: null }
}))

export const OwnerRequired = defineError(
  'TENANT_OWNER_REQUIRED',
  409,
  () => 'a tenant keeps at least one owner: name another one first'
)

export const RoleTooHigh = defineError('TENANT_ROLE_TOO_HIGH', 403, (role: string) => ({
  message: `the caller may not give, change or take the role ${role}`,
  details: { role }
}))

export const MemberExists = defineError('TENANT_MEMBER_EXISTS', 409, () => 'is a member of this tenant already')

export const InvitationExists = defineError('TENANT_INVITATION_EXISTS', 409, (id: string) => ({
  message: 'an invitation to this address is open: revoke it first',
  details: { invitationId: id }
}))

/** One answer for an unknown, used, revoked and expired token, and for one of a tenant that is going. */
export const InvitationInvalid = defineError(
  'TENANT_INVITATION_INVALID',
  410,
  () => 'this invitation does not exist, was used or revoked, or has expired: ask for a new one'
)

export const TenantZeroStays = defineError(
  'TENANT_ZERO_STAYS',
  409,
  () => "the operator's own tenant can be neither suspended nor deleted"
)

export const TenantOwned = defineError(
  'TENANT_OWNED',
  409,
  () => 'this tenant has an owner, an open invitation of one, or a key with all scopes: they name owners'
)

/** `confirm` is not the tenant's slug. */
export const TenantUnconfirmed = defineError(
  'TENANT_UNCONFIRMED',
  409,
  () => 'to delete the tenant, `confirm` has to be its slug'
)

export const TenantNotDeleted = defineError(
  'TENANT_NOT_DELETED',
  409,
  () => 'no deletion of this tenant is under way that the caller could undo'
)

/** The grace time is over: what is being erased does not come back. */
export const TenantErased = defineError('TENANT_ERASED', 410, () => 'this tenant is erased, or is being erased')

export const ExportRunning = defineError('TENANT_EXPORT_RUNNING', 429, (running: number) => ({
  message: `${running} exports run here already; try again when one has ended`,
  retryAfterMs: 30_000
}))
