import type { SignedSettings } from '#core/db/signature.ts'
import { settingsSql, sign } from '#test/support/signed.ts'
import type { Role, Table } from './catalogue.ts'
import { absentTenant, type Seeded, tenantA, tenantB } from './seed.ts'

/** Neither a tenant nor a user. */
export const nobody = '00000000-0000-0000-0000-000000000001'

/** Whose rows are "own" and whose are "theirs"; `forged` and `erasing` are of one role alone. */
export const contexts = {
  none: { me: tenantA, other: tenantB },
  empty: { me: tenantA, other: tenantB },
  garbage: { me: tenantA, other: tenantB },
  unsigned: { me: tenantA, other: tenantB },
  forged: { me: tenantA, other: tenantB },
  own: { me: tenantA, other: tenantB },
  foreign: { me: tenantB, other: tenantA },
  absent: { me: absentTenant, other: tenantB },
  erasing: { me: tenantA, other: tenantB }
} as const
export type Context = keyof typeof contexts

const appOnly: readonly Context[] = ['unsigned', 'forged']

/** The contexts in which a role asks. */
export function contextsOf(role: Role): Context[] {
  return (Object.keys(contexts) as Context[]).filter(
    (context) =>
      (role === 'agentos_app' || !appOnly.includes(context)) && (role === 'agentos_system' || context !== 'erasing')
  )
}

/**
 * The contexts of one table that a run in CI looks at: each that shows rows, and by `seed` some of those in which all is
 * refused or nothing differs.
 */
export function sample(seed: number, place: number, table: Table, role: Role): Context[] {
  const some = (count: number, from: readonly Context[]) =>
    from.filter((_, i) => (i - ((seed + place) % from.length) + from.length) % from.length < count)
  if (role === 'agentos_system')
    return ['erasing', ...some(1, ['none', 'empty', 'garbage', 'own', 'foreign', 'absent'])]
  if (role === 'authenticated') {
    const others = ['none', 'empty', 'garbage', 'foreign', 'absent'] as const
    return table.declared.authenticated.size > 0 ? ['own', ...some(2, others)] : some(1, others)
  }
  return ['own', 'foreign', ...some(2, ['none', 'empty', 'unsigned', 'garbage', 'forged', 'absent'])]
}

export const isTenant = (context: Context) => ['own', 'foreign', 'absent', 'erasing'].includes(context)
export const isMember = (context: Context) => context === 'own' || context === 'foreign'

/**
 * What the transaction says of itself. agentos_system gets what agentos_app does: it must make no difference.
 * @param forgery which of the forgeries; default: in turn over the tables
 */
export function settingOf(
  seeded: Seeded,
  table: Table,
  role: Role,
  context: Context,
  forgery = seeded.tables.indexOf(table)
): string | undefined {
  const { me, other } = contexts[context]
  if (context === 'none') return undefined
  if (context === 'erasing') return erase(me, other)
  if (role === 'authenticated') return settingsSql({ claims: claimsOf(seeded, context, me) })
  const own = sign({ tenantId: me })
  if (context === 'empty') return settingsSql({ ...own, tenant: '' })
  if (context === 'garbage') return settingsSql({ ...own, tenant: `${me}' or true --` })
  if (context === 'unsigned') return settingsSql({ ...own, signature: '' })
  if (context !== 'forged') return settingsSql(own)
  const forge = forgeries[forgery % forgeries.length]
  return settingsSql(forge?.(own, sign({ tenantId: other }), seededUser(seeded, me)) ?? own)
}

/** Settings that nobody signed so, but the last. All of them for every table would be seven times the time. */
export const forgeries: readonly ((own: SignedSettings, theirs: SignedSettings, user: string) => SignedSettings)[] = [
  (own, theirs) => ({ ...own, tenant: theirs.tenant }),
  (own, theirs) => ({ ...own, signature: theirs.signature }),
  (own, _, user) => ({ ...own, user }),
  (own) => ({ ...own, claims: own.claims.replace('}', ',"role":"owner"}') }),
  (own) => ({ ...own, signature: `${own.signature.slice(0, -1)}${own.signature.endsWith('0') ? '1' : '0'}` }),
  (own) => ({ ...own, signature: own.signature.toUpperCase() }),
  () => sign({ tenantId: 'x'.repeat(36) }) // as long as a tenant, and rightly signed
]

function claimsOf(seeded: Seeded, context: Context, tenantId: string): string {
  if (context === 'empty') return ''
  if (context === 'garbage') return `{"sub": "' or true --"}`
  return JSON.stringify({ sub: isMember(context) ? seededUser(seeded, tenantId) : nobody, role: 'authenticated' })
}

/** The user id of a seeded member. */
function seededUser(seeded: Seeded, tenantId: string): string {
  const [row] = seeded.rows.get('core.member')?.get(tenantId) ?? []
  return row?.user_id?.replaceAll("'", '') ?? nobody
}

// One tenant's time is over, the other one's is to come.
function erase(now: string, later: string): string {
  return `update core.tenants set suspended_at = now(), suspended_by = 'deletion', erase_by = 'owner',
    erase_at = now() + case tenant_id when '${now}' then interval '-1 s' else interval '1 h' end
    where tenant_id in ('${now}', '${later}')`
}
