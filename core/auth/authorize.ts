import { BlockList, isIP } from 'node:net'
import type { Identity } from '#core/auth/auth.ts'
import type { KeyCredential, UserCredential } from '#core/auth/credential.ts'
import {
  AddressRefused,
  AuthRequired,
  NoMembership,
  TenantMismatch,
  TenantRequired,
  wrongGuess
} from '#core/auth/errors.ts'
import { sameHash } from '#core/auth/key.ts'
import type { LoginCheck } from '#core/auth/login/store.ts'
import { ROLES, type Role } from '#core/auth/roles.ts'
import type { KeyRecord, Membership, Suspension } from '#core/auth/store.ts'
import { TenantSuspended } from '#core/tenants/errors.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'

// From what was proven (credential.ts) and what the tables say now to an identity, or to the reason why not. Pure.

/** Circumstances of one request. */
export interface Asking {
  /** Id or slug, of AgentOS-Tenant or hello's `tenant`. */
  tenant?: string
  /** The client's address. */
  from?: string
  /** Also while the tenant waits for its deletion: its owner may still export and undo. */
  whileDeleting?: boolean
}

/** @throws AuthRequired (401), TenantMismatch, AddressRefused, TenantSuspended (403) */
export function authorizeKey(
  { prefix, hash, from, tenant: bound }: KeyCredential,
  record: KeyRecord | null,
  asking: Asking
): Identity {
  if (!record) throw wrongGuess(`unknown key ${prefix}`)
  const given = Buffer.from(hash, 'base64')
  const current = sameHash(given, record.hash)
  if (!current && !(record.oldHash && sameHash(given, record.oldHash))) {
    throw wrongGuess(`wrong secret for key ${prefix}`)
  }
  if (record.revoked) throw new AuthRequired(`revoked key ${prefix}`)
  if (record.expired) throw new AuthRequired(`expired key ${prefix}`)
  if (record.userId !== null && record.role === null) throw new AuthRequired(`the member of key ${prefix} is gone`)
  const { tenantId, tenantSlug, userId, role } = record
  for (const named of [asking.tenant, bound]) if (!names(named, tenantId, tenantSlug)) throw new TenantMismatch()
  if (!allows(record.allowedIps, from ?? asking.from)) throw new AddressRefused()
  standsStill(record, asking)
  const ends = [record.expiresAt, current ? null : record.oldSecretUntil].flatMap((at) => at?.getTime() ?? [])
  return {
    tenantId,
    tenantSlug,
    keyId: record.id,
    scopes: new Set(record.scopes),
    ...(userId === null || role === null
      ? {}
      : { userId, role, ceiling: scopesOf(tenantId, role, record.platform ?? []) }),
    ...(ends.length > 0 ? { expiresAt: Math.min(...ends) } : {})
  }
}

/** What the tables say of a user. */
export interface UserRecord {
  login: LoginCheck
  memberships: readonly Membership[]
}

/** @throws AuthRequired (401), TenantRequired (400), NoMembership, TenantMismatch, TenantSuspended (403) */
export function authorizeUser(credential: UserCredential, record: UserRecord, asking: Asking, now: number): Identity {
  const { userId, expiresAt } = credential
  proven(credential, record.login, now)
  const membership = chosen(credential.tenant, record.memberships, asking.tenant)
  const { tenantId, slug: tenantSlug, role, platform } = membership
  standsStill(membership, asking)
  return { tenantId, tenantSlug, userId, role, scopes: scopesOf(tenantId, role, platform), expiresAt }
}

/** @throws AuthRequired when the token is worth nothing any more */
export function proven({ userId, login, expiresAt }: UserCredential, check: LoginCheck, now: number): void {
  if (expiresAt <= now) throw new AuthRequired('expired token')
  if (login) {
    if (check.version !== login.version) throw new AuthRequired(`token of an older password of user ${userId}`)
    if (!check.goesOn) throw new AuthRequired(`token of an ended login of user ${userId}`)
  } else if (check.known) {
    // Else an identity provider that lets people choose their subject would make them anybody here.
    throw new AuthRequired(`an identity provider names user ${userId}, who logs in here`)
  }
}

/** Membership decides; what a token or ticket says of its tenant can only narrow that. */
function chosen(bound: string | undefined, memberships: readonly Membership[], asked: string | undefined): Membership {
  const wanted = asked ?? bound
  if (wanted === undefined) {
    const [first, second] = memberships
    if (!first) throw new NoMembership()
    if (second) throw new TenantRequired(memberships.map(({ tenantId, slug }) => ({ tenantId, slug })))
    return first
  }
  const found = memberships.find(({ tenantId, slug }) => names(wanted, tenantId, slug))
  if (!found || !names(bound, found.tenantId, found.slug)) throw new TenantMismatch()
  return found
}

/** Platform permissions are Tenant Zero's: all of them its owner's, and of its other members those whom they were given. */
export function scopesOf(tenantId: string, role: Role, platform: readonly string[]): Set<string> {
  const given = role === 'owner' ? ['platform:*'] : platform.filter((one) => one.startsWith('platform:'))
  return new Set([...ROLES[role], ...(tenantId === TENANT_ZERO ? given : [])])
}

function names(name: string | undefined, tenantId: string, slug: string): boolean {
  return name === undefined || name.toLowerCase() === tenantId || name === slug
}

function standsStill({ suspendedBy, suspendedReason }: Suspension, asking: Asking): void {
  if (suspendedBy === null || (suspendedBy === 'deletion' && asking.whileDeleting)) return
  throw new TenantSuspended(suspendedReason)
}

function allows(cidrs: readonly string[], from: string | undefined): boolean {
  if (cidrs.length === 0) return true
  const address = from?.replace(/^::ffff:(?=\d+\.)/i, '') ?? ''
  const family = { 4: 'ipv4', 6: 'ipv6' }[isIP(address)] as 'ipv4' | 'ipv6' | undefined
  if (family === undefined) return false
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [net = '', bits = ''] = cidr.split('/')
    list.addSubnet(net, Number(bits), isIP(net) === 6 ? 'ipv6' : 'ipv4')
  }
  return list.check(address, family)
}
