import type { Identity } from '#core/auth/auth.ts'
import type { Actor } from '#core/db/types.ts'

/** Who a transaction's changes are put down to (its signed claims, and from there the audit row). */
export function actorOf(identity: Identity, more: { requestId?: string; from?: string } = {}): Actor {
  const { keyId, userId = '' } = identity
  return { kind: keyId === undefined ? 'user' : 'key', id: keyId ?? userId, ...more }
}

/** `key:<id>` or `user:<id>`: the cause of what somebody asked for. */
export function causeOf(identity: Identity): string {
  const { kind, id } = actorOf(identity)
  return `${kind}:${id}`
}
