import { isIP } from 'node:net'
import { z } from 'zod'
import { scopePattern } from '#core/auth/scopes.ts'
import { Email, Password } from '#core/auth/users.ts'
import { Timestamp } from '#core/http/time.ts'

const DAY_MS = 24 * 60 * 60 * 1000

const Cidr = z
  .string()
  .max(50)
  .refine((text) => {
    const [net = '', bits = '', more] = text.split('/')
    const most = { 4: 32, 6: 128 }[isIP(net)] ?? -1
    return more === undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= most
  }, 'an address with its prefix length, like 203.0.113.0/24 or 2001:db8::/32')

export const NewKey = z.strictObject({
  name: z.string().trim().min(1).max(200),
  scopes: z
    .array(z.string().max(100).regex(scopePattern, 'a scope is `family:verb`, `family:*`, `*:verb` or `*`'))
    .min(1)
    .max(100),
  expiresAt: Timestamp.optional(),
  actsFor: z
    .enum(['me', 'tenant'])
    .optional()
    .describe(
      '`me` (default where a member asks): the key may do at most what this member may, and ends with the membership. ' +
        '`tenant`: it outlives the members.'
    ),
  allowedIps: z
    .array(Cidr)
    .max(50)
    .optional()
    .describe('CIDRs from which the key works; empty or absent: from everywhere')
})

export const RotateKey = z.strictObject({
  overlapMs: z
    .int()
    .min(0)
    .max(7 * DAY_MS)
    .default(DAY_MS)
    .describe('how long the old secret still works; 0 for one that leaked. Default a day')
})

export const Key = z.object({
  id: z.string(),
  name: z.string(),
  prefix: z.string(),
  scopes: z.array(z.string()),
  userId: z.string().nullable(),
  allowedIps: z.array(z.string()),
  createdAt: z.string(),
  expiresAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
  rotatedAt: z.string().nullable(),
  oldSecretUntil: z.string().nullable(),
  lastUsedAt: z.string().nullable()
})
export type Key = z.output<typeof Key>

/** `key` is in this one answer and nowhere else. */
export const CreatedKey = Key.extend({ key: z.string() })

export const WhoAmI = z.object({
  tenantId: z.string(),
  tenant: z.object({ name: z.string(), slug: z.string(), plan: z.string() }),
  keyId: z.string().nullable(),
  userId: z.string().nullable(),
  role: z.string().nullable(),
  scopes: z.array(z.string()),
  expiresAt: z.string().nullable(),
  user: z.object({ id: z.string(), email: z.string().nullable() }).nullable(),
  memberships: z
    .array(z.object({ tenantId: z.string(), slug: z.string(), name: z.string(), role: z.string() }))
    .describe('every tenant of the user; empty for an API key, which belongs to one')
})

/** The password grant or the refresh grant. */
export const TokenRequest = z.union([
  z.strictObject({ email: Email, password: z.string().min(1).max(200) }),
  z.strictObject({ refreshToken: z.string().min(1).max(200) })
])

/** Both tokens are in this one answer and nowhere else. */
export const TokenAnswer = z.object({
  accessToken: z.string(),
  refreshToken: z.string(),
  tokenType: z.literal('Bearer'),
  expiresIn: z.int().describe('seconds that the access token is good for')
})

export const Logout = z.strictObject({ refreshToken: z.string().min(1).max(200) })

export const SetPassword = z.strictObject({
  email: Email,
  password: Password,
  currentPassword: z.string().min(1).max(200).optional().describe('needed where there is a password already')
})

export const Jwks = z.object({
  keys: z.array(
    z.object({ kty: z.string(), crv: z.string(), x: z.string(), kid: z.string(), use: z.string(), alg: z.string() })
  )
})

export const Operator = z.object({ userId: z.string(), role: z.string(), permissions: z.array(z.string()) })
export const SetOperator = z.strictObject({
  permissions: z
    .array(
      z
        .string()
        .max(100)
        .regex(/^platform:(\*|[a-z][a-z0-9-]*)$/, 'a platform permission or `platform:*`')
    )
    .max(50)
})
