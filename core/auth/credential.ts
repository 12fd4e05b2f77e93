import { z } from 'zod'

const Bound = {
  /** Id or slug of the only tenant that it is good for: a token's claim, or where a ticket was made. */
  tenant: z.string().min(1).max(128).optional()
}

/**
 * What somebody proved by a key, a token or a ticket, once. Whether it is still worth something, and where, is asked anew
 * with each request (`Auth.authorize`). Tickets keep it as JSON; nothing in it lets anybody in by itself.
 */
export const Credential = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('key'),
    prefix: z.string(),
    /** HMAC-SHA256 of the secret that was shown, base64: after a rotation the old one ends. */
    hash: z.string(),
    /** In a ticket: the address where it was made, which a key's `allowedIps` are held to instead of the page's. */
    from: z.string().optional(),
    ...Bound
  }),
  z.strictObject({
    kind: z.literal('user'),
    userId: z.string(),
    /** A login of ours and the version of its user; absent where another issuer signed. */
    login: z.strictObject({ id: z.string(), version: z.int() }).optional(),
    /** ms since 1970 */
    expiresAt: z.number(),
    ...Bound
  })
])
export type Credential = z.output<typeof Credential>
export type KeyCredential = Extract<Credential, { kind: 'key' }>
export type UserCredential = Extract<Credential, { kind: 'user' }>

/** For people and for limits: never a secret. */
export function nameOf(credential: Credential): string {
  return credential.kind === 'key' ? `key ${credential.prefix}` : `user ${credential.userId}`
}
