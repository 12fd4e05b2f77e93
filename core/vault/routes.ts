import { z } from 'zod'
import { RequestInvalid } from '#core/errors.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import type { App } from '#core/plugin.ts'
import { Secret } from '#core/secret.ts'
import { GrantQuery, isName, NameParams, NewGrant, NewNameParams, NewValue, nameRule, SecretInfo } from './schema.ts'
import type { GrantRow, SecretRow } from './store.ts'

const tags = ['vault']

/** No answer here holds a value: what was put can be used by who holds a grant, and read by nobody. */
export function secretRoutes(app: App): void {
  const { vault } = app

  app.route({
    method: 'PUT',
    url: '/v1/secrets/:name',
    config: { permission: 'secrets:write' },
    schema: {
      tags,
      summary: 'Put a secret; a value that is there is replaced at once',
      params: NewNameParams,
      body: NewValue,
      response: { 200: SecretInfo, 201: SecretInfo }
    },
    handler: async (request, reply) => {
      const { name } = request.params
      if (!isName(name)) throw new RequestInvalid([{ pointer: '/name', detail: nameRule, ...inPath }])
      const value = new Secret(request.body.value)
      const { created, row } = await request.tenant((tx) => vault.put(tx, name, value))
      if (created) reply.header('location', `/v1/secrets/${name}`)
      return reply.status(created ? 201 : 200).send(show(row))
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/secrets',
    config: { permission: 'secrets:read' },
    schema: {
      tags,
      summary: 'The secrets of the tenant, newest first, without their values',
      querystring: PageQuery,
      response: { 200: pageOf(SecretInfo) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('secrets', cursor)
      const rows = await request.tenant((tx) => vault.list(tx, limit, after))
      return page('secrets', rows, limit, (row) => ({ createdAt: row.position, id: row.id }), show)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/secrets/:name',
    config: { permission: 'secrets:read' },
    schema: { tags, summary: 'One secret, without its value', params: NameParams, response: { 200: SecretInfo } },
    handler: async (request) => show(await request.tenant((tx) => vault.find(tx, request.params.name)))
  })

  app.route({
    method: 'POST',
    url: '/v1/secrets/:name/rotate',
    config: { permission: 'secrets:write' },
    schema: {
      tags,
      summary: 'Give a secret a new value; the old one stays usable as the previous version until the next change',
      params: NameParams,
      body: NewValue,
      response: { 200: SecretInfo }
    },
    handler: async (request, reply) => {
      const { name } = request.params
      const value = new Secret(request.body.value)
      // Sent twice without a key, the value that is to stay for the overlap would be lost.
      const answer = await idempotent(
        request,
        async (tx) => ({ status: 200, body: show(await vault.rotate(tx, name, value)) }),
        vault.fingerprint(request.auth.tenantId, name, value)
      )
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/secrets/:name',
    config: { permission: 'secrets:write' },
    schema: { tags, summary: 'Delete a secret with its grants', params: NameParams, response: { 204: z.null() } },
    handler: async (request, reply) => {
      await request.tenant((tx) => vault.remove(tx, request.params.name))
      return reply.status(204).send(null)
    }
  })

  app.route({
    method: 'PUT',
    url: '/v1/secrets/:name/grants',
    config: { permission: 'secrets:write' },
    schema: {
      tags,
      summary: 'Let a skill or an agent use the secret, everywhere or for some hosts only',
      params: NameParams,
      body: NewGrant,
      response: { 200: SecretInfo }
    },
    handler: async (request) => {
      const { hosts = null, ...who } = request.body
      return show(await request.tenant((tx) => vault.grant(tx, request.params.name, granteeOf(who), hosts)))
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/secrets/:name/grants',
    config: { permission: 'secrets:write' },
    schema: {
      tags,
      summary: "Take back a skill's or an agent's grant (?skill= or ?agent=)",
      params: NameParams,
      querystring: GrantQuery,
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      await request.tenant((tx) => vault.revoke(tx, request.params.name, granteeOf(request.query)))
      return reply.status(204).send(null)
    }
  })
}

const inPath = { in: 'path' }

// The schema saw to it that one of them is there.
function granteeOf({ skill, agent = '' }: { skill?: string | undefined; agent?: string | undefined }) {
  return skill === undefined
    ? ({ kind: 'agent', grantee: agent } as const)
    : ({ kind: 'skill', grantee: skill } as const)
}

function show(row: SecretRow): SecretInfo {
  return {
    name: row.name,
    version: row.version,
    previousVersion: row.hasPrevious ? row.version - 1 : null,
    createdAt: row.createdAt.toISOString(),
    rotatedAt: row.rotatedAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    grants: row.grants.map(showGrant)
  }
}

function showGrant({ kind, grantee, hosts, createdAt }: GrantRow) {
  return { [kind]: grantee, hosts, grantedAt: new Date(createdAt).toISOString() }
}
