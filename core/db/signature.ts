// The signature of a transaction's tenant, user and claims: made here, checked by core.tenant() (sql/0002_signature.sql).
import { createHmac } from 'node:crypto'
import type { Secret } from '#core/secret.ts'
import type { TenantContext } from './types.ts'

/** The four settings of a tenant's transaction, as set_config takes them. */
export interface SignedSettings {
  /** agentos.tenant */
  tenant: string
  /** agentos.user, '' for none */
  user: string
  /** request.jwt.claims */
  claims: string
  /** agentos.signature: hex */
  signature: string
}

const keyOf = (key: Secret) => Buffer.from(key.reveal(), 'base64url')

/** Signatures kept: those of tenants and members. What an actor does is signed each time, its request id is in it. */
const kept = 1000

/**
 * Makes and signs the settings of tenant transactions.
 * @param key base64url of 32 bytes: deriveSecrets(...).tenantHmacKey
 */
export function createSigner(key: Secret): (context: TenantContext) => SignedSettings {
  const bytes = keyOf(key)
  const known = new Map<string, string>()
  const made = (message: string) => createHmac('sha256', bytes).update(message).digest('hex')
  return ({ tenantId: tenant, userId: user = '', claims: given, actor }) => {
    const claims = JSON.stringify({
      ...given,
      tenant_id: tenant,
      ...(user ? { sub: user } : {}),
      ...(actor ? { actor } : {})
    })
    // The tenant is 36 octets, the user's length says where the claims begin: no two settings are one message.
    const message = `${tenant}${Buffer.byteLength(user)}:${user}${claims}`
    if (actor) return { tenant, user, claims, signature: made(message) }
    const signature = known.get(message) ?? made(message)
    known.delete(message) // the last used stand last
    known.set(message, signature)
    if (known.size > kept) known.delete(known.keys().next().value ?? '')
    return { tenant, user, claims, signature }
  }
}

/** What HMAC-SHA256 makes of a key before it sees a message (RFC 2104): so core.tenant() need not. */
export function hmacPads(key: Secret): { inner: Buffer; outer: Buffer } {
  const block = Buffer.alloc(64)
  keyOf(key).copy(block) // 32 bytes: never longer than a block
  const xor = (byte: number) => Buffer.from(block.map((value) => value ^ byte))
  return { inner: xor(0x36), outer: xor(0x5c) }
}
