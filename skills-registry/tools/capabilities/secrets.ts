import type { Permissions } from '#skills-registry/package/manifest.ts'
import type { Capability } from '../capability.ts'

/** Names only, and no host call: a value is attached where the request leaves, never shown to a skill. */
export const secretsCapability: Capability = { name: 'secrets', names: () => [], methods: {} }

/** What ctx has beside its functions. */
export function guestData({ secrets = [] }: Permissions): { secrets: string[] } | undefined {
  return secrets.length > 0 ? { secrets } : undefined
}
