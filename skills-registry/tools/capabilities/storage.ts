import { z } from 'zod'
import { cutPage } from '#core/http/page.ts'
import { type Capability, method } from '#skills-registry/tools/capability.ts'
import { Key, KeyText, type StorageOptions } from './storage-options.ts'
import { deleteValue, findValue, listKeys, setValue } from './storage-store.ts'

/** Keys of one page at most: 500 of the longest ones fit into an answer. */
const MAX_PAGE = 500

const ListArgs = z.tuple([
  z
    .strictObject({
      prefix: KeyText.default(''),
      after: KeyText.default(''),
      limit: z.int().min(1).max(MAX_PAGE).default(100)
    })
    .nullish()
    .transform((wanted) => wanted ?? { prefix: '', after: '', limit: 100 })
    .prefault({})
])
const DeleteArgs = z.tuple([Key, z.strictObject({ ifVersion: z.int().min(1).optional() }).nullish()])

/**
 * `ctx.storage`: what a skill keeps between sessions, for all its versions. Whose it is follows from who asks: the
 * tenant of the transaction and the name of the skill, never from an argument.
 */
export function createStorageCapability(limits: StorageOptions): Capability {
  const value = z.unknown().superRefine((given, ctx) => {
    const bytes = Buffer.byteLength(JSON.stringify(given) ?? '')
    if (bytes > 0 && bytes <= limits.valueBytes) return
    const message = bytes === 0 ? 'required (JSON)' : `has ${bytes} bytes as JSON, ${limits.valueBytes} at most`
    ctx.addIssue({ code: 'custom', message })
  })
  const SetArgs = z.tuple([Key, value, z.strictObject({ ifVersion: z.int().min(0).optional() }).nullish()])

  return {
    name: 'storage',
    names: ({ storage }) => {
      if (storage === undefined) return []
      const reads = ['storage.get', 'storage.list']
      return storage === 'write' ? [...reads, 'storage.set', 'storage.delete'] : reads
    },
    methods: {
      'storage.get': method({
        args: z.tuple([Key]),
        audit: null,
        async inTx(tx, { skill }, [key]) {
          const held = await findValue(tx, skill.name, key)
          return held && { value: JSON.parse(held.value), version: held.version }
        }
      }),
      'storage.list': method({
        args: ListArgs,
        audit: null,
        async inTx(tx, { skill }, [{ prefix, after, limit }]) {
          const rows = await listKeys(tx, skill.name, { prefix, after, limit: limit + 1 })
          const { shown, last } = cutPage(rows, limit)
          const keys = shown.map(({ key, version, bytes }) => ({ key, version, bytes }))
          return { keys, next: last?.key ?? null }
        }
      }),
      'storage.set': method({
        args: SetArgs,
        audit: ({ skill }, [key, given], answer) => ({
          action: 'tool.storage_written',
          subject: `skill:${skill.skillId}`,
          details: {
            skill: skill.name,
            key,
            bytes: Buffer.byteLength(JSON.stringify(given)),
            version: (answer as { version: number }).version
          }
        }),
        async inTx(tx, { skill }, [key, given, options]) {
          // The text that the guest sent: JSON.stringify of what was parsed of its output gives it back.
          const write = { skill: skill.name, key, value: JSON.stringify(given), ifVersion: options?.ifVersion }
          return { version: await setValue(tx, limits, write) }
        }
      }),
      'storage.delete': method({
        args: DeleteArgs,
        audit: ({ skill }, [key], deleted) =>
          deleted === true
            ? { action: 'tool.storage_deleted', subject: `skill:${skill.skillId}`, details: { skill: skill.name, key } }
            : null,
        inTx: async (tx, { skill }, [key, options]) =>
          (await deleteValue(tx, skill.name, key, options?.ifVersion)) !== null
      })
    }
  }
}
