import { z } from 'zod'
import { PageQuery } from '#core/http/page.ts'
import { Timestamp } from '#core/http/time.ts'

/** `key:<id>`, or a kind alone. */
const Actor = z
  .string()
  .max(220)
  .regex(
    /^(key|user|skill|rule|operator|system)(:.+)?$/,
    'is `key`, `user`, `skill`, `rule`, `operator` or `system`, with `:<id>` where one is meant'
  )

export const ListFilter = PageQuery.extend({
  action: z
    .string()
    .max(100)
    .regex(
      /^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*(\.\*)?$/,
      'is an action like `key.created`, or a family like `key.*`'
    )
    .optional(),
  actor: Actor.optional(),
  subject: z.string().min(1).max(300).optional(),
  from: Timestamp.optional().describe('rows of this time and later'),
  to: Timestamp.optional().describe('rows before this time')
})
export type ListFilter = z.output<typeof ListFilter>

export const KnownLink = z
  .strictObject({
    seq: z.coerce
      .number()
      .int()
      .min(1)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('number of a row that you know'),
    hash: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'is 64 hexadecimal digits')
      .optional()
      .describe('its hash then, of an export or of `head`')
  })
  .refine((link) => (link.seq === undefined) === (link.hash === undefined), 'seq and hash go together')

export const AuditRow = z.object({
  id: z.string(),
  at: z.string().describe('ISO 8601 UTC, microseconds'),
  action: z.string(),
  subject: z.string(),
  actor: z.object({ kind: z.string(), id: z.string() }),
  requestId: z.string().nullable(),
  from: z.string().nullable().describe('IP address'),
  before: z
    .string()
    .nullable()
    .describe('sha256 of the canonical JSON of the thing before; null where it was not there'),
  after: z.string().nullable(),
  details: z.record(z.string(), z.unknown()),
  seq: z.int().nullable().describe('place in the chain; null for the moment until it is sealed')
})

export const Key = z.object({ id: z.string(), publicKey: z.string().describe('ed25519, SPKI in base64') })

export const Verified = z.object({
  ok: z.boolean(),
  sealedThrough: z.int().describe('number of the last sealed row'),
  entries: z.int(),
  unsealed: z.int().describe('rows that wait for their seal'),
  faults: z.int().describe('how many, up to 100'),
  firstFault: z.object({ seq: z.int().nullable(), what: z.string() }).nullable(),
  head: z.object({ seq: z.int(), hash: z.string(), at: z.string(), signature: z.string().nullable() }).nullable(),
  known: z
    .object({ seq: z.int(), hash: z.string(), stands: z.boolean() })
    .nullable()
    .describe('the row of `seq` and `hash`, and whether the chain still holds it; null where none was asked about'),
  key: Key
})
