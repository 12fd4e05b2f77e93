import { z } from 'zod'

/** As in a skill's manifest. */
const namePattern = /^[A-Z][A-Z0-9_]{0,63}$/
export const nameRule = 'a secret is named by capital letters, digits and _, at most 64, a letter first: API_TOKEN'

/** Whoever asks for a name that cannot be gets the 404 of one that is not there. */
export const NameParams = z.object({ name: z.string().regex(namePattern) })
/** Of the route that makes one: the handler says what is wrong with the name. */
export const NewNameParams = z.object({ name: z.string() })
export const isName = (text: string): boolean => namePattern.test(text)

const maxValueBytes = 64 * 1024

export const NewValue = z.strictObject({
  value: z
    .string()
    .min(1)
    .refine((text) => Buffer.byteLength(text) <= maxValueBytes, 'is more than 64 KiB')
})

const skill = z
  .string()
  .max(140)
  .regex(/^@[a-z0-9-]+\/[a-z0-9-]+$/, 'must be like @scope/name, in lower case')
const agent = z.string().min(1).max(200)
const host = z
  .string()
  .max(253)
  .regex(
    /^(?=.*[a-z])([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be one host name in lower case: no wildcard, address, port or path'
  )

const oneOf = { message: 'name a skill or an agent, one of them' }
const isOne = (who: { skill?: string | undefined; agent?: string | undefined }) =>
  (who.skill === undefined) !== (who.agent === undefined)

/** `hosts`: the only ones that this grantee may send it to; without it those that its manifest declares. */
export const NewGrant = z
  .strictObject({ skill: skill.optional(), agent: agent.optional(), hosts: z.array(host).min(1).max(20).optional() })
  .refine(isOne, oneOf)

export const GrantQuery = z.strictObject({ skill: skill.optional(), agent: agent.optional() }).refine(isOne, oneOf)

const Grant = z.object({
  skill: z.string().optional(),
  agent: z.string().optional(),
  hosts: z.array(z.string()).nullable(),
  grantedAt: z.string()
})

/** All that anybody is told of a secret. */
export const SecretInfo = z.object({
  name: z.string(),
  version: z.number(),
  previousVersion: z.number().nullable(),
  createdAt: z.string(),
  rotatedAt: z.string().nullable(),
  lastUsedAt: z.string().nullable(),
  grants: z.array(Grant)
})
export type SecretInfo = z.output<typeof SecretInfo>

/** How far the data keys are on their way to the current key encryption key. */
export const Rotation = z.object({
  current: z.number(),
  /** Data keys that are still wrapped with an older version. */
  remaining: z.number(),
  versions: z.array(z.object({ version: z.number(), dataKeys: z.number(), configured: z.boolean() }))
})
export type Rotation = z.output<typeof Rotation>
