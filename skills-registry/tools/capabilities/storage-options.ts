import { z } from 'zod'

const MiB = 1024 * 1024

/** How much skills may keep. Of one skill: all its versions together. */
export const StorageOptions = z.strictObject({
  keys: z.int().min(1).default(10_000).describe('keys of a skill'),
  valueBytes: z
    .int()
    .min(1)
    .max(128 * 1024)
    .default(64 * 1024)
    .describe('of the JSON text of one value'),
  skillBytes: z
    .int()
    .min(1)
    .default(16 * MiB)
    .describe('of the keys and values of a skill'),
  tenantBytes: z
    .record(z.string(), z.int().min(1))
    .default({ free: 64 * MiB, pro: 1024 * MiB, enterprise: 16 * 1024 * MiB })
    .describe('of all skills of a tenant, by plan, in blocks of 256 KiB; a plan that is not named has what free has')
})
export type StorageOptions = z.output<typeof StorageOptions>

const MAX_KEY_CHARS = 256

/** A part of a key, such as a prefix: text that Postgres keeps, and that looks like what it is. */
export const KeyText = z
  .string()
  .max(MAX_KEY_CHARS)
  .superRefine((text, ctx) => {
    const wrong = wrongWith(text)
    if (wrong) ctx.addIssue({ code: 'custom', message: wrong })
  })

/** A key is data: `/`, `..` and `%2e` mean nothing in it. */
export const Key = KeyText.min(1)

// Two keys that look alike to who reads them are a trap; two that are spelled alike are one.
function wrongWith(text: string): string | null {
  if (!text.isWellFormed()) return 'contains a lone surrogate'
  if (/\p{Cc}/u.test(text)) return 'contains a control character'
  if (/\p{Bidi_Control}/u.test(text)) return 'contains a mark that turns the direction of text'
  return text === text.normalize('NFC') ? null : "is not in Unicode's normal form NFC: use key.normalize()"
}
