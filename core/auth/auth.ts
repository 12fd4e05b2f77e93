import { AuthRequired, PermissionMissing, TenantMismatch } from '#core/auth/errors.ts'
import { hashSecret, newKey, parseKey, sameHash } from '#core/auth/key.ts'
import type { Role } from '#core/auth/roles.ts'
import { permits } from '#core/auth/scopes.ts'
import { findByPrefix, insertKey, type KeyRecord, type KeyRow, noteUse } from '#core/auth/store.ts'
import type { Clock } from '#core/clock.ts'
import type { Actor, Db, Tx } from '#core/db/types.ts'
import { errorMessage } from '#core/errors.ts'
import { newId } from '#core/ids.ts'
import type { Log } from '#core/log.ts'
import { must } from '#core/must.ts'
import type { Secret } from '#core/secret.ts'

export type { Role } from '#core/auth/roles.ts'

/** Who asks. It is a transaction's context as it stands: `db.tenant(identity, work)` carries tenant, user and actor. */
export interface Identity {
  readonly tenantId: string
  readonly tenantSlug: string
  /** The API key that asks; absent for a user's token. */
  readonly keyId?: string
  /** The member who asks, or for whom the key acts. */
  readonly userId?: string
  /** What that member is in this tenant. */
  readonly role?: Role
  readonly scopes: ReadonlySet<string>
  /** What the member for whom a key acts may do: the key may do no more. */
  readonly ceiling?: ReadonlySet<string>
  /** ms since 1970: from then on the credential is worth nothing, and a WebSocket closes with 4401. */
  readonly expiresAt?: number
  /** Of one request: what its transactions are put down to. */
  readonly actor?: Actor
}

export interface Auth {
  /**
   * @param token the text after `Bearer `; undefined when there was none
   * @param tenant what AgentOS-Tenant (or hello's `tenant`) says: id or slug
   * @throws AuthRequired (401), TenantMismatch (403)
   */
  authenticate(token: string | undefined, tenant?: string): Promise<Identity>
  /** @throws PermissionMissing (403) naming the permission */
  require(identity: Identity, permission: string): void
  /** Makes a key in the transaction's tenant; `key` is shown once and stored nowhere. */
  createKey(tx: Tx, wanted: WantedKey): Promise<{ key: Secret; row: KeyRow }>
  /** Forgets what is cached of a key, so that a revocation holds at once here (elsewhere within 5 s). */
  forget(prefix: string): void
  /** Waits for writes that were started off the request path. */
  settle(): Promise<void>
}

export interface WantedKey {
  name: string
  scopes: readonly string[]
  expiresAt?: Date | null
  userId?: string | null
}

/** How long a key's row is believed: a key revoked on another host is refused here after this time at the latest. */
const cacheMs = 5000
// Invented prefixes are cached too (as absent); the bound keeps a flood of them from growing the process.
const cacheSize = 10_000

interface Cached {
  at: number
  record: Promise<KeyRecord | null>
  used: boolean
}

export function createAuth(options: { db: Db; clock: Clock; pepper: Secret; log: Log }): Auth {
  const { db, clock, pepper, log } = options
  const cache = new Map<string, Cached>()
  const writes = new Set<Promise<void>>()

  function lookUp(prefix: string): Cached {
    const known = cache.get(prefix)
    if (known && clock.monotonic() - known.at < cacheMs) return known
    if (cache.size >= cacheSize) cache.clear()
    const record = db.system((tx) => findByPrefix(tx, prefix))
    const entry: Cached = { at: clock.monotonic(), record, used: false }
    cache.set(prefix, entry)
    // A database that was away for a moment must not be remembered as an absent key.
    record.catch(() => {
      if (cache.get(prefix) === entry) cache.delete(prefix)
    })
    return entry
  }

  function note(prefix: string): void {
    const write = db
      .system((tx) => noteUse(tx, prefix))
      .catch((error) => log.warn({ reason: errorMessage(error) }, 'the last use of a key was not noted'))
      .finally(() => writes.delete(write))
    writes.add(write)
  }

  async function check(token: string | undefined): Promise<KeyRecord> {
    if (token === undefined) throw new AuthRequired('no key')
    const parsed = parseKey(token)
    if (!parsed) throw new AuthRequired('malformed key')
    const entry = lookUp(parsed.prefix)
    const record = await entry.record
    // Hashed also when there is no row: the answer takes the same time.
    const hash = hashSecret(pepper, parsed.secret)
    if (!record) throw new AuthRequired(`unknown key ${parsed.prefix}`)
    if (!sameHash(hash, record.hash)) throw new AuthRequired(`wrong secret for key ${parsed.prefix}`)
    if (record.revoked) throw new AuthRequired(`revoked key ${parsed.prefix}`)
    if (record.expired) throw new AuthRequired(`expired key ${parsed.prefix}`)
    if (record.stale && !entry.used) {
      entry.used = true
      note(parsed.prefix)
    }
    return record
  }

  return {
    async authenticate(token, tenant) {
      const record = await check(token)
      if (tenant !== undefined && tenant !== record.tenantId && tenant !== record.tenantSlug) throw new TenantMismatch()
      return {
        tenantId: record.tenantId,
        tenantSlug: record.tenantSlug,
        keyId: record.id,
        scopes: new Set(record.scopes),
        ...(record.userId === null ? {} : { userId: record.userId })
      }
    },
    require(identity, permission) {
      if (!permits(identity, permission)) throw new PermissionMissing(permission)
    },
    async createKey(tx, { name, scopes, expiresAt = null, userId = null }) {
      const { key, prefix, secret } = newKey()
      const hash = hashSecret(pepper, secret)
      const rows = await insertKey(tx, { id: newId(), prefix, hash, name, scopes, expiresAt, userId })
      return { key, row: must(rows[0], 'the new key') }
    },
    forget: (prefix) => void cache.delete(prefix),
    async settle() {
      await Promise.all(writes)
    }
  }
}
