import { audit } from '#core/audit/audit.ts'
import type { Auth, Identity, WantedKey } from '#core/auth/auth.ts'
import { KeyEnded, KeyNotOwn, ScopeTooWide } from '#core/auth/errors.ts'
import { permits } from '#core/auth/scopes.ts'
import { findKey, type KeyRow, markRevoked } from '#core/auth/store.ts'
import type { Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import type { Secret } from '#core/secret.ts'

// What members and keys do with keys, each with its audit row. Making keys for others (the first owner) is Auth's.

/** What a key is, without times: the audit row's digest is of this. */
const lasting = ({ name, scopes, userId, allowedIps, expiresAt }: KeyRow) => ({
  name,
  scopes,
  userId,
  allowedIps,
  expiresAt: expiresAt?.toISOString() ?? null
})

/** @throws ScopeTooWide (403): nobody gives away more than they have */
export async function createKey(
  auth: Auth,
  tx: Tx,
  who: Identity,
  wanted: WantedKey
): Promise<{ key: Secret; row: KeyRow }> {
  holdToOwn(who, wanted.scopes)
  const made = await auth.createKey(tx, wanted)
  const { row } = made
  await audit(tx, {
    action: 'key.created',
    subject: `key:${row.id}`,
    after: lasting(row),
    details: { name: row.name, scopes: row.scopes.join(' ') }
  })
  return made
}

/**
 * Another secret for a key. Whoever gets it can do what the key can, so they must be allowed to do that already.
 * @throws NotFound, KeyNotOwn, ScopeTooWide (403), KeyEnded (409)
 */
export async function rotateKey(
  auth: Auth,
  tx: Tx,
  who: Identity,
  id: string,
  options: { overlapMs: number; now: number }
): Promise<{ key: Secret; row: KeyRow }> {
  const row = await findKey(tx, id, true)
  if (!row) throw new NotFound('key')
  if (row.userId !== null && row.userId !== who.userId) throw new KeyNotOwn()
  holdToOwn(who, row.scopes)
  if (row.revokedAt || (row.expiresAt && row.expiresAt.getTime() <= options.now)) throw new KeyEnded()
  const { overlapMs } = options
  const rotated = await auth.rotateKey(tx, row, overlapMs)
  await audit(tx, { action: 'key.rotated', subject: `key:${id}`, details: { name: row.name, overlapMs } })
  return rotated
}

/**
 * A second time changes nothing. Everybody may end what is their own, an owner everything, others what can do no more
 * than they can: whoever holds `keys:write` alone must not cut the owner off.
 * @returns the prefix, for the cache
 * @throws NotFound, ScopeTooWide (403)
 */
export async function revokeKey(tx: Tx, who: Identity, id: string): Promise<string> {
  const row = await findKey(tx, id, true)
  if (!row) throw new NotFound('key')
  if (!isOwn(who, row) && !(who.role === 'owner' && permits(who, '*'))) holdToOwn(who, row.scopes)
  if (row.revokedAt) return row.prefix
  await markRevoked(tx, id)
  await audit(tx, { action: 'key.revoked', subject: `key:${id}`, before: lasting(row), details: { name: row.name } })
  return row.prefix
}

// A key that acts for a member is not that member: it may be able to do less than their other keys.
function isOwn({ keyId, userId }: Identity, row: KeyRow): boolean {
  return keyId === undefined ? row.userId !== null && row.userId === userId : row.id === keyId
}

function holdToOwn(who: Identity, scopes: readonly string[]): void {
  const tooWide = scopes.filter((scope) => !permits(who, scope))
  if (tooWide.length > 0) throw new ScopeTooWide(tooWide)
}
