import { randomBytes, scryptSync } from 'node:crypto'
import type { PasswordHash } from '#core/auth/login/password.ts'

/**
 * A stored password that costs nothing to check: a hash names its own cost, so users who only have to be there need not
 * take half a second of a core each. What hashing costs is core/auth's own tests' business.
 */
export function cheapHash(password: string): PasswordHash {
  const cost = { N: 2, r: 8, p: 1 }
  const salt = randomBytes(16)
  const hash = scryptSync(password.normalize('NFKC'), salt, 32, cost)
  return `scrypt$${cost.N}$${cost.r}$${cost.p}$${salt.toString('base64url')}$${hash.toString('base64url')}` as PasswordHash
}
