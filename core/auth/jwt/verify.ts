import { createHash } from 'node:crypto'
import { decodeProtectedHeader, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import type { UserCredential } from '#core/auth/credential.ts'
import { AuthRequired, wrongGuess } from '#core/auth/errors.ts'
import type { Clock } from '#core/clock.ts'
import { AppError, errorMessage } from '#core/errors.ts'
import { isId } from '#core/ids.ts'
import { FOREIGN_MAX_AGE_S, FOREIGN_TOLERANCE_S, type JwtIssuer, MAX_TOKEN_LENGTH, OWN_TOLERANCE_S } from './issuers.ts'
import { ACCESS_TOKEN_S, OWN_ISSUER, type OwnKey } from './own.ts'
import { remoteKeys } from './remote-keys.ts'

export type VerifyToken = (token: string) => Promise<UserCredential>

/** Everything that is fixed before a token is looked at. */
interface Rules {
  issuer: string
  audience: string
  typ: string
  algorithms: string[]
  tolerance: number
  maxAge: number
  key: JWTVerifyGetKey
  read(payload: JWTPayload, expiresAt: number): UserCredential
}

/**
 * Makes the function that proves users' tokens: ours and those of one identity provider.
 * It throws AuthRequired (401) with the reason for the log, IssuerUnavailable (503).
 */
export function tokenVerifier(options: { own: OwnKey; issuer: JwtIssuer | null; clock: Clock }): VerifyToken {
  const { own, issuer, clock } = options
  const rules = new Map<string, Rules>([[OWN_ISSUER, ownRules(own)]])
  if (issuer) rules.set(issuer.issuer, foreignRules(issuer, clock))
  return async (token) => {
    if (token.length > MAX_TOKEN_LENGTH) throw wrongGuess('oversized token')
    const rule = rules.get(issuerOf(token))
    if (!rule) throw wrongGuess('token of an unknown issuer')
    checkHeader(token)
    try {
      const { payload } = await jwtVerify(token, rule.key, {
        issuer: rule.issuer,
        audience: rule.audience,
        typ: rule.typ,
        algorithms: rule.algorithms,
        clockTolerance: rule.tolerance,
        maxTokenAge: rule.maxAge,
        requiredClaims: ['sub', 'exp', 'iat', 'aud', 'iss'],
        currentDate: new Date(clock.now())
      })
      return rule.read(payload, (payload.exp ?? 0) * 1000)
    } catch (error) {
      if (error instanceof AppError) throw error
      const reason = `token refused: ${errorMessage(error)}`
      throw error instanceof errors.JWTExpired ? new AuthRequired(reason) : wrongGuess(reason)
    }
  }
}

/** Read unverified, only to know whose rules it has to keep: those name the issuer again. */
function issuerOf(token: string): string {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    if (typeof claims === 'object' && claims !== null && 'iss' in claims && typeof claims.iss === 'string') {
      return claims.iss
    }
  } catch {}
  throw wrongGuess('malformed token')
}

// A header that brings or points to its own key, or asks for an extension, wants to be believed on its own word.
const forbidden = ['jku', 'x5u', 'x5c', 'x5t', 'x5t#S256', 'jwk', 'crit', 'b64']

function checkHeader(token: string): void {
  let header: object
  try {
    header = decodeProtectedHeader(token)
  } catch {
    throw wrongGuess('malformed token')
  }
  const found = forbidden.filter((name) => Object.hasOwn(header, name))
  if (found.length > 0) throw new AuthRequired(`token with the header ${found.join(', ')}`)
}

function ownRules(own: OwnKey): Rules {
  return {
    issuer: OWN_ISSUER,
    audience: OWN_ISSUER,
    typ: 'at+jwt',
    algorithms: ['EdDSA'],
    tolerance: OWN_TOLERANCE_S,
    maxAge: ACCESS_TOKEN_S,
    async key({ kid }) {
      if (kid !== own.kid) throw wrongGuess('token with an unknown kid')
      return own.publicKey
    },
    read({ sub = '', sid, ver }, expiresAt) {
      if (!isId(sub) || typeof sid !== 'string' || typeof ver !== 'number') throw wrongGuess('malformed token')
      return { kind: 'user', userId: sub, login: { id: sid, version: ver }, expiresAt }
    }
  }
}

function foreignRules({ issuer, audience, typ, keys }: JwtIssuer, clock: Clock): Rules {
  const common = { issuer, audience, typ, tolerance: FOREIGN_TOLERANCE_S, maxAge: FOREIGN_MAX_AGE_S }
  const read = (payload: JWTPayload, expiresAt: number) => foreignUser(issuer, payload, expiresAt)
  if ('hmac' in keys) {
    const secret = new TextEncoder().encode(keys.hmac.reveal())
    return { ...common, read, algorithms: ['HS256'], key: async () => secret as never }
  }
  const remote = remoteKeys(keys.jwks, clock)
  return {
    ...common,
    read,
    algorithms: ['EdDSA', 'Ed25519', 'ES256'],
    key(header, token) {
      if (typeof header.kid !== 'string') throw wrongGuess('token without a kid')
      return remote(header, token)
    }
  }
}

function foreignUser(issuer: string, payload: JWTPayload, expiresAt: number): UserCredential {
  const { sub = '' } = payload
  if (sub === '' || sub.length > 255) throw wrongGuess('malformed token')
  const tenant = tenantClaim(payload)
  return { kind: 'user', userId: foreignUserId(issuer, sub), expiresAt, ...(tenant === undefined ? {} : { tenant }) }
}

/**
 * core.member's user_id for a subject of an identity provider: a uuid is taken as it is (Supabase: what auth.uid() says),
 * anything else becomes a UUIDv8 of issuer and subject, so that providers cannot name each other's users.
 */
export function foreignUserId(issuer: string, subject: string): string {
  if (isId(subject)) return subject.toLowerCase()
  const bytes = createHash('sha256')
    .update(JSON.stringify([issuer, subject]))
    .digest()
    .subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** What a token may say about its tenant only narrows it: membership decides. */
function tenantClaim(payload: JWTPayload): string | undefined {
  const { app_metadata: metadata } = payload
  const inner = typeof metadata === 'object' && metadata !== null ? (metadata as Record<string, unknown>) : {}
  const claim = payload.tenant ?? payload.tenant_id ?? inner.tenant ?? inner.tenant_id
  if (claim === undefined || claim === null) return undefined
  if (typeof claim !== 'string' || claim === '' || claim.length > 128) throw wrongGuess('malformed tenant claim')
  return claim
}
