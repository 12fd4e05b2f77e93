import { defineError } from '#core/errors.ts'

/** Everything of the tenant stands still; the text says what the operator said. */
export const TenantSuspended = defineError('TENANT_SUSPENDED', 403, (reason: string | null = null) => ({
  message: reason === null ? 'this tenant is suspended' : `this tenant is suspended: ${reason}`,
  details: { reason }
}))
