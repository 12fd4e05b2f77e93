import type { Secret } from '#core/secret.ts'

/** An identity provider whose tokens are believed (config/env.ts: JWT_..., SUPABASE_JWT_SECRET). */
export interface JwtIssuer {
  /** `iss`, exactly as in its tokens. */
  readonly issuer: string
  /** `aud` must be it, or hold it. */
  readonly audience: string
  /** The header's `typ`: RFC 9068 says `at+jwt`; many providers still say `JWT`. */
  readonly typ: 'at+jwt' | 'JWT'
  /** Where its keys are. The algorithms follow from this and never from a token: a public key must not become an HMAC's. */
  readonly keys: { readonly jwks: URL } | { readonly hmac: Secret }
}

/** Longer ones are refused unread: a token is looked at before anybody is known. */
export const MAX_TOKEN_LENGTH = 8192
/** Clocks of different companies; seconds. */
export const FOREIGN_TOLERANCE_S = 30
/** Hosts of one installation; seconds. */
export const OWN_TOLERANCE_S = 5
/** Whatever `exp` says: nothing that was issued longer ago is believed. */
export const FOREIGN_MAX_AGE_S = 24 * 60 * 60
