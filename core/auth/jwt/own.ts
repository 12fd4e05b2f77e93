import { createHash, createPublicKey, hkdfSync, randomUUID } from 'node:crypto'
import { type JWK, type JWTPayload, SignJWT } from 'jose'
import { ed25519FromSeed } from '#core/ed25519.ts'
import { Secret } from '#core/secret.ts'

/** `iss` and `aud` of our own access tokens; installations are told apart by their keys. */
export const OWN_ISSUER = 'agentos'
/** Seconds. */
export const ACCESS_TOKEN_S = 15 * 60

/** The key by which this installation signs access tokens, the same on each of its hosts. */
export interface OwnKey {
  readonly kid: string
  /** What `/.well-known/jwks.json` shows. */
  readonly jwk: JWK
  readonly publicKey: ReturnType<typeof createPublicKey>
  /** @param at ms since 1970 */
  sign(claims: { userId: string; loginId: string; version: number }, at: number): Promise<Secret>
}

/** @param seed of deriveSecrets (userTokenKey) */
export function ownKey(seed: Secret): OwnKey {
  const bytes = Buffer.from(hkdfSync('sha256', seed.reveal(), 'agentos', 'access-token/ed25519', 32))
  const privateKey = ed25519FromSeed(bytes)
  const publicKey = createPublicKey(privateKey)
  const { crv = '', kty = '', x = '' } = publicKey.export({ format: 'jwk' })
  // RFC 7638
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url')
  return {
    kid,
    jwk: { kty, crv, x, kid, use: 'sig', alg: 'EdDSA' },
    publicKey,
    async sign({ userId, loginId, version }, at) {
      const now = Math.floor(at / 1000)
      const claims: JWTPayload = { sid: loginId, ver: version, jti: randomUUID() }
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid })
        .setIssuer(OWN_ISSUER)
        .setAudience(OWN_ISSUER)
        .setSubject(userId)
        .setIssuedAt(now)
        .setExpirationTime(now + ACCESS_TOKEN_S)
        .sign(privateKey)
      return new Secret(token)
    }
  }
}
