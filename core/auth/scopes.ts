import { TENANT_ZERO } from '#core/tenants/tenants.ts'

// A scope is a permission (`sessions:read`), a family (`sessions:*`), a verb (`*:read`) or `*`. A star for the family
// never reaches the platform's permissions. Roles (roles.ts) may also take away: `!tenant:delete`.
export const scopePattern = /^(\*|\*:[a-z][a-z0-9-]*|[a-z][a-z0-9-]*:(\*|[a-z][a-z0-9-]*))$/

/** Whether holders of `scopes` may do what `wanted` (a permission, or another scope) allows. */
export function covers(scopes: Iterable<string>, wanted: string): boolean {
  let covered = false
  for (const scope of scopes) {
    if (scope.startsWith('!')) {
      if (meets(scope.slice(1), wanted)) return false
    } else covered ||= holds(scope, wanted)
  }
  return covered
}

/** Who holds these scopes; `ceiling`: what the member for whom a key acts may do. */
export interface Holder {
  tenantId: string
  scopes: Iterable<string>
  ceiling?: Iterable<string>
}

/** Platform permissions count only in Tenant Zero, whatever a row of another tenant says. */
export function permits(who: Holder, permission: string): boolean {
  if (permission.startsWith('platform:') && who.tenantId !== TENANT_ZERO) return false
  return covers(who.scopes, permission) && (who.ceiling === undefined || covers(who.ceiling, permission))
}

/** Scopes that name nothing any room declared: a typo would otherwise be a key that can do less than meant. */
export function unknownScopes(scopes: readonly string[], declared: Iterable<string>): number[] {
  const known = [...declared]
  return scopes.flatMap((scope, index) => (scope === '*' || known.some((one) => holds(scope, one)) ? [] : [index]))
}

function parts(scope: string): [family: string, verb: string] {
  const [family = '*', verb = '*'] = scope.split(':')
  return [family, verb]
}

/** Whether everything that `wanted` names is named by `scope`. */
function holds(scope: string, wanted: string): boolean {
  const [family, verb] = parts(scope)
  const [wantedFamily, wantedVerb] = parts(wanted)
  const sameFamily = family === '*' ? wantedFamily !== 'platform' : family === wantedFamily
  return sameFamily && (verb === '*' || verb === wantedVerb)
}

/** Whether something is named by both. */
function meets(scope: string, wanted: string): boolean {
  const [family, verb] = parts(scope)
  const [wantedFamily, wantedVerb] = parts(wanted)
  return (
    (family === '*' || wantedFamily === '*' || family === wantedFamily) &&
    (verb === '*' || wantedVerb === '*' || verb === wantedVerb)
  )
}
