import { z } from 'zod'
import { audit } from '#core/audit/audit.ts'
import { defineError } from '#core/errors.ts'
import type { App } from '#core/plugin.ts'
import { SKILL_NAME } from '#skills-registry/package/manifest.ts'
import { Key, KeyText, type StorageOptions } from '#skills-registry/tools/capabilities/storage-options.ts'
import * as store from '#skills-registry/tools/capabilities/storage-store.ts'
import { decodeAfter, pageAfter } from './after-cursor.ts'

const StorageNotFound = defineError('TOOLS_STORAGE_NOT_FOUND', 404, (what: string) => `${what} is not stored`)

/** Go into the room's manifest. */
export const storagePermissions = {
  'storage:read': 'See what skills keep for the tenant, values included.',
  'storage:write': 'Delete what skills keep for the tenant.'
}

const Params = z.object({ scope: z.string().max(64), name: z.string().max(64) })
const Page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(2000).optional()
})
const KeyQuery = z.strictObject({ key: Key })
const Stored = z.object({ key: z.string(), version: z.int(), bytes: z.int(), updatedAt: z.iso.datetime() })
const Used = z.object({ keys: z.int(), bytes: z.int() })
const Total = z
  .object({ bytes: z.int(), limit: z.int() })
  .describe('of all skills of the tenant, in whole blocks of 256 KiB')

/**
 * What skills keep for the tenant. By the name of the skill and not by an installation: all versions share it, and it is
 * there, to be seen and deleted, when the last one was uninstalled.
 */
export function storageRoutes(app: App, limits: StorageOptions): void {
  const tags = ['tools']

  app.route({
    method: 'GET',
    url: '/v1/storage',
    config: { permission: 'storage:read' },
    schema: {
      tags,
      summary: 'Skills that keep something, by name, and what of the quota is used',
      querystring: Page,
      response: {
        200: z.object({
          data: z.array(Used.extend({ skill: z.string() })),
          nextCursor: z.string().nullable(),
          total: Total
        })
      }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeAfter('storage', cursor)
      return await request.tenant(async (tx) => {
        const [rows, total] = await Promise.all([
          store.listUse(tx, { after, limit: limit + 1 }),
          store.findTotal(tx, limits)
        ])
        const show = ({ skill, keys, bytes }: store.StorageUse) => ({ skill, keys, bytes: Number(bytes) })
        return { ...pageAfter('storage', rows, limit, ({ skill }) => skill, show), total }
      })
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/storage/:scope/:name',
    config: { permission: 'storage:read' },
    schema: {
      tags,
      summary: 'The keys of a skill, in the order of their UTF-8 bytes',
      params: Params,
      querystring: Page.extend({ prefix: KeyText.default('') }),
      response: {
        200: z.object({
          data: z.array(Stored),
          nextCursor: z.string().nullable(),
          used: Used,
          limits: Used.extend({ valueBytes: z.int() })
        })
      }
    },
    handler: async (request) => {
      const skill = skillOf(request.params)
      const { limit, cursor, prefix } = request.query
      const after = decodeAfter('storage keys', cursor)
      return await request.tenant(async (tx) => {
        const [use, rows] = await Promise.all([
          store.findUse(tx, skill),
          store.listKeys(tx, skill, { prefix, after, limit: limit + 1 })
        ])
        if (!use) throw new StorageNotFound(`anything of ${skill}`)
        const page = pageAfter('storage keys', rows, limit, ({ key }) => key, show)
        const { keys, skillBytes: bytes, valueBytes } = limits
        return { ...page, used: { keys: use.keys, bytes: Number(use.bytes) }, limits: { keys, bytes, valueBytes } }
      })
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/storage/:scope/:name/value',
    config: { permission: 'storage:read' },
    schema: {
      tags,
      summary: 'One value (?key=)',
      params: Params,
      querystring: KeyQuery,
      response: { 200: Stored.extend({ value: z.unknown() }) }
    },
    handler: async (request) => {
      const skill = skillOf(request.params)
      const { key } = request.query
      const found = await request.tenant((tx) => store.findValue(tx, skill, key))
      if (!found) throw new StorageNotFound('this key')
      return { ...show({ key, ...found }), value: JSON.parse(found.value) as unknown }
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/storage/:scope/:name/value',
    config: { permission: 'storage:write' },
    schema: {
      tags,
      summary: 'Delete one key (?key=)',
      params: Params,
      querystring: KeyQuery,
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      const skill = skillOf(request.params)
      const { key } = request.query
      await request.tenant(async (tx) => {
        const gone = await store.deleteValue(tx, skill, key)
        if (!gone) throw new StorageNotFound('this key')
        await audit(tx, { action: 'tool.storage_deleted', subject: `skill:${skill}`, details: { skill, key, ...gone } })
      })
      return reply.status(204).send(null)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/storage/:scope/:name',
    config: { permission: 'storage:write' },
    schema: { tags, summary: 'Delete all that a skill keeps', params: Params, response: { 200: Used } },
    handler: async (request) => {
      const skill = skillOf(request.params)
      return await request.tenant(async (tx) => {
        const gone = await store.clearStorage(tx, skill)
        if (!gone) throw new StorageNotFound(`anything of ${skill}`)
        const was = { keys: gone.keys, bytes: Number(gone.bytes) }
        await audit(tx, { action: 'tool.storage_cleared', subject: `skill:${skill}`, details: { skill, ...was } })
        return was
      })
    }
  })
}

function skillOf({ scope, name }: z.output<typeof Params>): string {
  const skill = `@${scope}/${name}`
  if (!SKILL_NAME.test(skill)) throw new StorageNotFound('anything of this name')
  return skill
}

function show({ key, version, bytes, updatedAt }: store.StoredKey): z.output<typeof Stored> {
  return { key, version, bytes, updatedAt: updatedAt.toISOString() }
}
