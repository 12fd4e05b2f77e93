import { z } from 'zod'
import { scopePattern } from '#core/auth/scopes.ts'
import { Timestamp } from '#core/http/time.ts'

export const NewKey = z.strictObject({
  name: z.string().trim().min(1).max(200),
  scopes: z
    .array(z.string().max(100).regex(scopePattern, 'a scope is `family:verb`, `family:*` or `*`'))
    .min(1)
    .max(100),
  expiresAt: Timestamp.optional()
})

export const Key = z.object({
  id: z.string(),
  name: z.string(),
  prefix: z.string(),
  scopes: z.array(z.string()),
  userId: z.string().nullable(),
  createdAt: z.string(),
  expiresAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
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
  scopes: z.array(z.string())
})
