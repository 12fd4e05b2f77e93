import { type Asking, authorizeKey, authorizeUser, proven, type UserRecord } from '#core/auth/authorize.ts'
import { BELIEVED_MS, Lookups } from '#core/auth/cache.ts'
import { type Credential, nameOf } from '#core/auth/credential.ts'
import { AuthRequired, isGuess, PermissionMissing, wrongGuess } from '#core/auth/errors.ts'
import type { JwtIssuer } from '#core/auth/jwt/issuers.ts'
import { ownKey } from '#core/auth/jwt/own.ts'
import { tokenVerifier } from '#core/auth/jwt/verify.ts'
import { hashSecret, newKey, parseKey } from '#core/auth/key.ts'
import { type Logins, logins } from '#core/auth/login/logins.ts'
import { checkLogin } from '#core/auth/login/store.ts'
import type { Role } from '#core/auth/roles.ts'
import { permits } from '#core/auth/scopes.ts'
import {
  findByPrefix,
  insertKey,
  type KeyRecord,
  type KeyRow,
  type Membership,
  membershipsOf,
  noteUse,
  replaceSecret
} from '#core/auth/store.ts'
import { createTickets, isTicket, type Tickets } from '#core/auth/tickets.ts'
import type { Clock } from '#core/clock.ts'
import type { Actor, Db, Tx } from '#core/db/types.ts'
import { errorMessage } from '#core/errors.ts'
import type { Limits } from '#core/http/limits/types.ts'
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
   * @throws AuthRequired (401), TenantRequired (400), NoMembership, TenantMismatch, AddressRefused, TenantSuspended (403),
   *   RateLimited (429, after many wrong ones), IssuerUnavailable (503)
   */
  authenticate(token: string | undefined, tenant?: string): Promise<Identity>
  /** The same, with what was proven, so that it can be held against the tables again; `ticket`: those are taken too. */
  prove(token: string | undefined, asking: Asking & { ticket?: boolean }): Promise<Proven>
  /**
   * What a credential is worth now.
   * @param maxAgeMs how old the answer may be; at most, and by default, 5000
   * @throws as authenticate
   */
  authorize(credential: Credential, asking: Asking, maxAgeMs?: number): Promise<Identity>
  /**
   * Whose token this is, member of anything or not (an invitation is accepted by somebody who is none yet).
   * @param from the client's address: wrong tokens are counted
   * @throws AuthRequired (401) also for an API key, RateLimited (429)
   */
  userOf(token: string | undefined, from?: string): Promise<{ userId: string }>
  /** @throws PermissionMissing (403) naming the permission */
  require(identity: Identity, permission: string): void
  /** Makes a key in the transaction's tenant; `key` is shown once and stored nowhere. */
  createKey(tx: Tx, wanted: WantedKey): Promise<{ key: Secret; row: KeyRow }>
  /** Gives a key another secret; the former works for `overlapMs` more. */
  rotateKey(tx: Tx, row: Pick<KeyRow, 'id' | 'prefix'>, overlapMs: number): Promise<{ key: Secret; row: KeyRow }>
  /** The tenants of a user, at most 5 s old. */
  memberships(userId: string): Promise<readonly Membership[]>
  /** Tokens for users with a password of ours. */
  readonly logins: Logins
  /** For one WebSocket each. */
  readonly tickets: Tickets
  /** Forgets what is cached of a key, so that a revocation holds at once here (elsewhere within 5 s). */
  forget(prefix: string): void
  /** The same for all that hangs on a user: membership, role, password, keys that act for them. */
  forgetUser(userId: string): void
  /** The same for a tenant: suspension, slug, members. */
  forgetTenant(tenantId: string): void
  /** Waits for writes that were started off the request path. */
  settle(): Promise<void>
}

export interface Proven {
  credential: Credential
  identity: Identity
}

export interface WantedKey {
  name: string
  scopes: readonly string[]
  expiresAt?: Date | null
  userId?: string | null
  /** CIDR */
  allowedIps?: readonly string[]
}

export interface AuthOptions {
  db: Db
  clock: Clock
  pepper: Secret
  /** What access and refresh tokens are made with. */
  userTokenKey: Secret
  log: Log
  /** Whose tokens are believed besides ours. */
  issuer?: JwtIssuer | null
  limits?: Limits | undefined
}

export function createAuth(options: AuthOptions): Auth {
  const { db, clock, pepper, log, limits } = options
  const own = ownKey(options.userTokenKey)
  const tickets = createTickets(options.userTokenKey)
  const verify = tokenVerifier({ own, issuer: options.issuer ?? null, clock })
  const keys = new Lookups<KeyRecord | null>(clock, (prefix) => db.system((tx) => findByPrefix(tx, prefix)))
  // `<user id> <login id>`
  const users = new Lookups<UserRecord>(clock, (name) => {
    const [userId = '', loginId = ''] = name.split(' ')
    return db.system(async (tx) => {
      const [login, memberships] = await Promise.all([
        checkLogin(tx, userId, loginId || null),
        membershipsOf(tx, userId)
      ])
      return { login, memberships }
    })
  })
  const writes = new Set<Promise<void>>()

  function note(prefix: string): void {
    const write = db
      .system((tx) => noteUse(tx, prefix))
      .catch((error) => log.warn({ reason: errorMessage(error) }, 'the last use of a key was not noted'))
      .finally(() => writes.delete(write))
    writes.add(write)
  }

  /** Before the database is asked about something that anybody may have invented. @throws RateLimited (429) */
  async function lookUpAllowed(from: string | undefined): Promise<void> {
    if (from !== undefined) await limits?.authAllowed({ ip: from })
  }

  async function identify(token: string | undefined, ticket: boolean, from: string | undefined): Promise<Credential> {
    if (token === undefined) throw new AuthRequired('no key')
    if (token.startsWith('ak_')) {
      const parsed = parseKey(token)
      if (!parsed) throw wrongGuess('malformed key')
      // Hashed before anybody looks for a row: the answer takes the same time without one.
      return { kind: 'key', prefix: parsed.prefix, hash: hashSecret(pepper, parsed.secret).toString('base64') }
    }
    if (ticket && isTicket(token)) {
      await lookUpAllowed(from)
      return await db.system((tx) => tickets.take(tx, token))
    }
    if (token.split('.', 4).length === 3) return await verify(token)
    throw wrongGuess('malformed key')
  }

  const userName = (credential: Extract<Credential, { kind: 'user' }>) =>
    `${credential.userId} ${credential.login?.id ?? ''}`

  async function authorize(credential: Credential, asking: Asking, maxAgeMs = BELIEVED_MS): Promise<Identity> {
    if (credential.kind === 'user') {
      const record = await users.get(userName(credential), maxAgeMs)
      return authorizeUser(credential, record, asking, clock.now())
    }
    const { prefix } = credential
    const record = await keys.get(prefix, maxAgeMs)
    const identity = authorizeKey(credential, record, asking)
    if (record?.stale) {
      record.stale = false
      note(prefix)
    }
    return identity
  }

  /** Wrong ones are counted by address and account; from some number on the answer is 429. */
  async function failed(error: unknown, from: string | undefined, credential: Credential | undefined): Promise<void> {
    if (!limits || from === undefined || !isGuess(error)) return
    await limits.authFailed({ ip: from, ...(credential ? { account: nameOf(credential) } : {}) })
    await limits.authAllowed({ ip: from })
  }

  async function prove(token: string | undefined, asking: Asking & { ticket?: boolean }): Promise<Proven> {
    let credential: Credential | undefined
    try {
      credential = await identify(token, asking.ticket ?? false, asking.from)
      // A key that is known here goes on, whatever else comes from its address.
      if (credential.kind === 'key' && !keys.has(credential.prefix)) await lookUpAllowed(asking.from)
      return { credential, identity: await authorize(credential, asking) }
    } catch (error) {
      await failed(error, asking.from, credential)
      throw error
    }
  }

  return {
    prove,
    authorize,
    authenticate: async (token, tenant) => (await prove(token, tenant === undefined ? {} : { tenant })).identity,
    async userOf(token, from) {
      let credential: Credential | undefined
      try {
        credential = await identify(token, false, from)
        if (credential.kind === 'key') throw new AuthRequired('a key where a user is asked for')
        proven(credential, (await users.get(userName(credential))).login, clock.now())
        return { userId: credential.userId }
      } catch (error) {
        await failed(error, from, credential)
        throw error
      }
    },
    require(identity, permission) {
      if (!permits(identity, permission)) throw new PermissionMissing(permission)
    },
    async createKey(tx, { name, scopes, expiresAt = null, userId = null, allowedIps = [] }) {
      const { key, prefix, secret } = newKey()
      const hash = hashSecret(pepper, secret)
      const rows = await insertKey(tx, { id: newId(), prefix, hash, name, scopes, expiresAt, userId, allowedIps })
      return { key, row: must(rows[0], 'the new key') }
    },
    async rotateKey(tx, { id, prefix }, overlapMs) {
      const { key, secret } = newKey(prefix)
      const rows = await replaceSecret(tx, id, hashSecret(pepper, secret), overlapMs)
      return { key, row: must(rows[0], 'the rotated key') }
    },
    memberships: async (userId) => (await users.get(`${userId} `)).memberships,
    tickets,
    logins: logins({
      ...{ db, clock, own, log, key: options.userTokenKey, foreign: Boolean(options.issuer) },
      ...(limits ? { limits } : {})
    }),
    forget: (prefix) => keys.forget(prefix),
    forgetUser(userId) {
      keys.forgetWhere((record) => record?.userId === userId)
      users.forgetWhere((_record, name) => name.startsWith(`${userId} `))
    },
    forgetTenant(tenantId) {
      keys.forgetWhere((record) => record?.tenantId === tenantId)
      users.forgetWhere(({ memberships }) => memberships.some((one) => one.tenantId === tenantId))
    },
    async settle() {
      await Promise.all(writes)
    }
  }
}
