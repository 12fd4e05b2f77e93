import type { Permissions } from '#skills-registry/package/manifest.ts'
import type { Capability } from './capability.ts'

/** Names of the host calls that these permissions give. */
export function namesFor(permissions: Permissions, capabilities: readonly Capability[]): string[] {
  return capabilities.flatMap((capability) => capability.names(permissions))
}
