import { z } from 'zod'
import { Secret } from '#core/secret.ts'

export const RegistryOptions = z.strictObject({
  /** PEM (PKCS 8) of the registry's own signing key, mode 0600; made when it is not there. */
  keyFile: z.string().min(1),
  /** base64url of 32 bytes that the key is made of where the file is not there: hosts of one database share one key. */
  keySeed: z.instanceof(Secret).optional(),
  /** Public keys (SPKI, base64) of former or other registry keys that an install believes too. */
  trustedRoots: z.array(z.string()).default([]),
  /** Scopes that only Tenant Zero may publish under. */
  reservedScopes: z.array(z.string()).default(['agentos'])
})
export type RegistryOptions = z.output<typeof RegistryOptions>
