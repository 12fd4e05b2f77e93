import type { Identity } from '#core/auth/auth.ts'
import { ROLES, type Role } from '#core/auth/roles.ts'
import { permits } from '#core/auth/scopes.ts'
import { RoleTooHigh } from './errors.ts'

const order: readonly Role[] = ['viewer', 'member', 'admin', 'owner']

/**
 * Whether the caller may give a role, or change and remove who has it: nobody hands out more than he has. A user in
 * person goes by his own role; a key has to hold every scope of the role, so that an admin's key, which holds less than
 * `*`, names no admin.
 */
export function mayGive(identity: Identity, role: Role): boolean {
  if (role === 'owner' && !permits(identity, 'members:owners')) return false
  if (identity.keyId === undefined) {
    return identity.role !== undefined && order.indexOf(identity.role) >= order.indexOf(role)
  }
  return ROLES[role].every((scope) => scope.startsWith('!') || permits(identity, scope))
}

export function isBelow(role: Role, other: Role): boolean {
  return order.indexOf(role) < order.indexOf(other)
}

/** @throws RoleTooHigh (403) */
export function requireMayGive(identity: Identity, ...roles: Role[]): void {
  for (const role of roles) if (!mayGive(identity, role)) throw new RoleTooHigh(role)
}
