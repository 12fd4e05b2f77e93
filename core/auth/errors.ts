import { defineError } from '#core/errors.ts'

/**
 * One code and one text for an absent, malformed, unknown, revoked and expired key or token: an attacker learns nothing.
 * @param reason for our log only
 */
export const AuthRequired = defineError('AUTH_REQUIRED', 401, (reason: string) => ({
  message: 'a valid API key or access token is required',
  cause: reason
}))

const guessed = new WeakSet<Error>()

/** The same, for what was never right (not merely over): such failures are limited by address and account. */
export function wrongGuess(reason: string): Error {
  const error = new AuthRequired(reason)
  guessed.add(error)
  return error
}

export function isGuess(error: unknown): boolean {
  return error instanceof Error && guessed.has(error)
}

export const PermissionMissing = defineError('AUTH_PERMISSION_MISSING', 403, (permission: string) => ({
  message: `the permission ${permission} is missing`,
  details: { permission }
}))

/** The same for a tenant that is not there and for one of others. */
export const TenantMismatch = defineError(
  'AUTH_TENANT_MISMATCH',
  403,
  () => 'this key or token is not good for the tenant that was named'
)

/** @param tenants the caller's own */
export const TenantRequired = defineError(
  'AUTH_TENANT_REQUIRED',
  400,
  (tenants: readonly { tenantId: string; slug: string }[]) => ({
    message: 'you are a member of several tenants: name one by AgentOS-Tenant (WebSocket: `tenant` of hello)',
    details: { tenants: tenants.slice(0, 100) }
  })
)

export const NoMembership = defineError('AUTH_NO_MEMBERSHIP', 403, () => 'this user is a member of no tenant')

/** Nobody gives or takes away what they do not hold; platform permissions are Tenant Zero's. */
export const ScopeTooWide = defineError('AUTH_SCOPE_TOO_WIDE', 403, (scopes: string[]) => ({
  message: `the caller does not hold ${scopes.join(', ')}`,
  details: { scopes }
}))

/** Rotating shows the new secret: who may not act for that member must not get it. */
export const KeyNotOwn = defineError(
  'AUTH_KEY_NOT_OWN',
  403,
  () => 'this key acts for another member: only that member may rotate it'
)

/** A revoked or expired key has no secret that could go on. */
export const KeyEnded = defineError('AUTH_KEY_ENDED', 409, () => 'this key is revoked or expired')

/** Its holder may know: the secret was right. */
export const AddressRefused = defineError(
  'AUTH_ADDRESS_REFUSED',
  403,
  () => 'this key may not be used from this address'
)

/** One answer for an unknown e-mail and a wrong password, after the same work. */
export const CredentialsWrong = defineError('AUTH_CREDENTIALS_WRONG', 401, () => 'e-mail or password is wrong')

/** Unknown, expired, logged out, used before: all one. @param reason for our log only */
export const RefreshRefused = defineError('AUTH_REFRESH_REFUSED', 401, (reason: string) => ({
  message: 'this refresh token is not valid any more: log in again',
  cause: reason
}))

export const EmailTaken = defineError('AUTH_EMAIL_TAKEN', 409, () => 'another user has this e-mail address')

/** Only who may do everything that the member may do can make a login that can. */
export const PasswordRefused = defineError('AUTH_PASSWORD_REFUSED', 403, (why: string) => why)

/** Passwords are expensive to check on purpose; a queue of them is cut. */
export const LoginBusy = defineError('AUTH_LOGIN_BUSY', 503, () => ({
  message: 'too many passwords are being checked',
  retryAfterMs: 2000
}))

export const IssuerUnavailable = defineError('AUTH_ISSUER_UNAVAILABLE', 503, (cause: unknown) => ({
  message: 'the keys of the identity provider cannot be fetched',
  retryAfterMs: 5000,
  cause
}))
