import { TENANT_ZERO } from '#core/tenants/tenants.ts'

// A scope is a permission (`sessions:read`), a family (`sessions:*`) or `*`: every permission but the platform's.
export const scopePattern = /^(\*|[a-z][a-z0-9-]*:(\*|[a-z][a-z0-9-]*))$/

/** Whether holders of `scopes` may do what `wanted` (a permission, or another scope) allows. */
export function covers(scopes: Iterable<string>, wanted: string): boolean {
  const family = wanted.split(':', 1)[0]
  for (const scope of scopes) {
    if (scope === wanted || scope === `${family}:*`) return true
    if (scope === '*' && family !== 'platform') return true
  }
  return false
}

/** Platform permissions count only in Tenant Zero, whatever a row of another tenant says. */
export function permits(who: { tenantId: string; scopes: Iterable<string> }, permission: string): boolean {
  if (permission.startsWith('platform:') && who.tenantId !== TENANT_ZERO) return false
  return covers(who.scopes, permission)
}

/** Scopes that name nothing any room declared: a typo would otherwise be a key that can do less than meant. */
export function unknownScopes(scopes: readonly string[], declared: Iterable<string>): number[] {
  const known = [...declared]
  return scopes.flatMap((scope, index) => {
    if (scope === '*') return []
    const found = scope.endsWith(':*')
      ? known.some((permission) => permission.startsWith(scope.slice(0, -1)))
      : known.includes(scope)
    return found ? [] : [index]
  })
}
