import { defineError } from '#core/errors.ts'

/**
 * One code and one text for an absent, malformed, unknown, revoked and expired key: an attacker learns nothing.
 * @param reason for our log only
 */
export const AuthRequired = defineError('AUTH_REQUIRED', 401, (reason: string) => ({
  message: 'a valid API key is required',
  cause: reason
}))

export const PermissionMissing = defineError('AUTH_PERMISSION_MISSING', 403, (permission: string) => ({
  message: `this key lacks the permission ${permission}`,
  details: { permission }
}))

export const TenantMismatch = defineError(
  'AUTH_TENANT_MISMATCH',
  403,
  () => 'this key does not belong to the tenant named in AgentOS-Tenant'
)

/** A key can give away only what it holds; platform permissions are Tenant Zero's. */
export const ScopeTooWide = defineError('AUTH_SCOPE_TOO_WIDE', 403, (scopes: string[]) => ({
  message: `the caller may not grant ${scopes.join(', ')}`,
  details: { scopes }
}))
