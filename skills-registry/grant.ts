import { fieldErrors } from '#core/http/validation.ts'
import { GrantTooWide } from './errors.ts'
import { canonicalJson } from './package/digest.ts'
import { type Manifest, Permissions } from './package/manifest.ts'

/**
 * What a tenant allows of what a manifest asks for. Without a grant of its own it is all that is asked: installing is
 * the consent, and the answer shows it.
 * @throws SKILLS_GRANT_INVALID when it is malformed or allows what was not asked for
 */
export function grantOf(manifest: Manifest, wanted: unknown): Permissions {
  if (wanted === undefined) return manifest.permissions
  const parsed = Permissions.safeParse(wanted)
  if (!parsed.success) {
    const [first] = fieldErrors(parsed.error)
    throw new GrantTooWide(first?.pointer ?? '', first?.detail ?? 'is malformed')
  }
  const asked = manifest.permissions
  const grant = parsed.data
  const refuse = (key: string) => new GrantTooWide(`/${key}`, 'is more than the manifest asks for')
  for (const [i, rule] of (grant.fetch ?? []).entries()) {
    const same = asked.fetch?.find(({ host, secret }) => host === rule.host && (rule.secret ?? secret) === secret)
    if (!same || rule.methods.some((method) => !same.methods.includes(method))) throw refuse(`fetch/${i}`)
  }
  for (const key of ['storage', 'files'] as const) {
    if (grant[key] !== undefined && grant[key] !== asked[key] && asked[key] !== 'write') throw refuse(key)
  }
  for (const key of ['secrets', 'events', 'tools'] as const) {
    if (grant[key]?.some((name) => !asked[key]?.includes(name))) throw refuse(key)
  }
  if (grant.model && grant.model.tokens > (asked.model?.tokens ?? 0)) throw refuse('model')
  return grant
}

export function sameGrant(a: Permissions, b: Permissions): boolean {
  return canonicalJson(a) === canonicalJson(b)
}

/** The parts of a grant that ask the host for something, by name. */
export function capabilitiesOf(grant: Permissions): string[] {
  return Object.entries(grant)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))
    .map(([name]) => name)
}
