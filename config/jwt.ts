import { z } from 'zod'
import type { JwtIssuer } from '#core/auth/jwt/issuers.ts'
import { Secret } from '#core/secret.ts'

/** Keys that came in the clear over a network could be anybody's. */
export const jwksUrl = z
  .url()
  .transform((text) => new URL(text))
  .refine((url) => url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname)))
  .refine((url) => url.username === '' && url.password === '')

export const jwtTyp = z.enum(['at+jwt', 'JWT'])

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

interface Given {
  issuer: string | undefined
  audience: string | undefined
  jwks: URL | undefined
  typ: z.output<typeof jwtTyp> | undefined
  hmac: string | undefined
}

/**
 * The identity provider that the variables name, or null; what is contradictory goes to `problems`.
 * One kind of key, never both: which algorithms are believed must not depend on a token.
 */
export function jwtIssuerOf(given: Given, problems: string[]): JwtIssuer | null {
  const { issuer, audience, jwks, typ, hmac } = given
  if (Object.values(given).every((value) => value === undefined)) return null
  if (jwks && hmac !== undefined) {
    problems.push('JWT_JWKS_URL and SUPABASE_JWT_SECRET are both set: keep one')
    return null
  }
  const keys = jwks ? { jwks } : hmac === undefined ? undefined : { hmac: new Secret(hmac) }
  if (issuer === undefined || audience === undefined || !keys) {
    problems.push(
      'JWT_ISSUER, JWT_AUDIENCE and one of JWT_JWKS_URL and SUPABASE_JWT_SECRET go together: set all or none'
    )
    return null
  }
  return { issuer, audience, typ: typ ?? (jwks ? 'at+jwt' : 'JWT'), keys }
}
