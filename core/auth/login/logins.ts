import type { JWK } from 'jose'
import { auditAs } from '#core/audit/audit.ts'
import { CredentialsWrong, PasswordRefused, RefreshRefused } from '#core/auth/errors.ts'
import { ACCESS_TOKEN_S, type OwnKey } from '#core/auth/jwt/own.ts'
import {
  changeLogin,
  checkPassword,
  createUser,
  findUser,
  findUserByEmail,
  hashPassword,
  verifyPassword,
  waiting
} from '#core/auth/users.ts'
import type { Clock } from '#core/clock.ts'
import type { Actor, Db } from '#core/db/types.ts'
import type { Claimant, Limits } from '#core/http/limits/types.ts'
import type { Log } from '#core/log.ts'
import type { Secret } from '#core/secret.ts'
import { refreshTokens } from './refresh-token.ts'
import { beginLogin, endLogin, type LoginState, rotateLogin } from './store.ts'

/** What a client gets for a password or a refresh token. */
export interface Tokens {
  accessToken: Secret
  refreshToken: Secret
  /** Seconds. */
  expiresIn: number
}

/** First-party tokens: an access token for 15 minutes, a refresh token that is good once. */
export interface Logins {
  /**
   * @param email as `Email` gives it
   * @throws CredentialsWrong (401), RateLimited (429), LoginBusy (503)
   */
  logIn(email: string, password: string, from: string): Promise<Tokens>
  /** @throws RefreshRefused (401), RateLimited (429) */
  refresh(token: string, from: string): Promise<Tokens>
  /** Ends the login; a token that names none changes nothing. @returns whose it was */
  logOut(token: string): Promise<string | null>
  /**
   * Makes the user's first password, or another one, which ends all their logins; audited in the tenant of who asks.
   * @param current needed where there is one already
   * @throws CredentialsWrong (401), PasswordRefused (403), EmailTaken (409), RateLimited (429), LoginBusy (503)
   */
  setPassword(
    userId: string,
    wanted: { email: string; password: string; current?: string },
    asked: { tenantId: string; actor: Actor; from: string }
  ): Promise<void>
  /** Of `/.well-known/jwks.json`. */
  readonly jwks: { keys: JWK[] }
}

export interface LoginsOptions {
  db: Db
  clock: Clock
  own: OwnKey
  log: Log
  /** What refresh tokens are made with. */
  key: Secret
  /** Whether an identity provider's tokens are believed besides. */
  foreign: boolean
  limits?: Limits
}

export function logins(options: LoginsOptions): Logins {
  const { db, clock, own, log, limits } = options
  const refreshing = refreshTokens(options.key)

  async function tokensOf(state: LoginState): Promise<Tokens> {
    const accessToken = await own.sign(state, clock.now())
    return { accessToken, refreshToken: refreshing.make(state), expiresIn: ACCESS_TOKEN_S }
  }

  /** Failures count against the address and the account; who failed too often is not looked at. */
  async function limited<T>(who: Claimant, work: () => Promise<T | null>, refusal: () => Error): Promise<T> {
    const end = await limits?.authBegin(who)
    let wrong = false
    try {
      const result = await work()
      if (result !== null) return result
      wrong = true
    } finally {
      await end?.(wrong)
    }
    throw refusal()
  }

  return {
    jwks: { keys: [own.jwk] },
    async logIn(email, password, from) {
      const find = () => db.system((tx) => findUserByEmail(tx, email))
      const who = { ip: from, account: email }
      const check = () => verifyPassword(find, password, waiting(who))
      const user = await limited(who, check, () => new CredentialsWrong())
      const state = await db.system((tx) => beginLogin(tx, user.id, user.version))
      // Another password was set while this one was checked: it is not wrong by guessing, hence not counted.
      if (!state) throw new CredentialsWrong()
      return await tokensOf(state)
    },
    async refresh(token, from) {
      let reason = 'malformed refresh token'
      const rotate = async (): Promise<LoginState | null> => {
        const claim = refreshing.read(token)
        if (!claim) return null
        const state = await db.system((tx) => rotateLogin(tx, claim))
        if (!('reused' in state)) return state
        reason = `refresh token of login ${claim.loginId} that is over`
        if (state.reused) {
          reason = `refresh token of login ${claim.loginId} used twice`
          log.warn(
            { loginId: claim.loginId, userId: state.userId },
            'a refresh token was used twice: the login is ended'
          )
        }
        return null
      }
      return await tokensOf(await limited({ ip: from }, rotate, () => new RefreshRefused(reason)))
    },
    async logOut(token) {
      const claim = refreshing.read(token)
      return claim ? await db.system((tx) => endLogin(tx, claim.loginId)) : null
    },
    async setPassword(userId, { email, password, current }, { tenantId, actor, from }) {
      const known = await db.system((tx) => findUser(tx, userId))
      // A login here ends the belief in tokens of an identity provider that name the same user, and nothing says which
      // members are its users: with one, first passwords come by invitations only, for users who are made with them.
      if (!known && options.foreign)
        throw new PasswordRefused('with an identity provider a member gets no password here')
      if (known) {
        const who = { ip: from, account: known.email }
        const check = () => checkPassword(known.passwordHash, current ?? '', waiting(who))
        await limited(
          who,
          async () => (await check()) || null,
          () => new CredentialsWrong()
        )
      }
      const hash = await hashPassword(password, waiting({ ip: from }))
      await db.system(async (tx) => {
        if (!known) await createUser(tx, { id: userId, email, password: hash })
        else if (!(await changeLogin(tx, userId, { email, hash, version: known.version }))) throw new CredentialsWrong()
        await auditAs(tx, tenantId, actor, { action: 'user.password_set', subject: `user:${userId}` })
      })
    }
  }
}
