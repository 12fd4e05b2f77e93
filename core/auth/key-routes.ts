import { z } from 'zod'
import { createKey, revokeKey, rotateKey } from '#core/auth/keys.ts'
import { CreatedKey, Key, NewKey, RotateKey } from '#core/auth/schema.ts'
import { unknownScopes } from '#core/auth/scopes.ts'
import { findKey, type KeyRow, listKeys } from '#core/auth/store.ts'
import { NotFound, RequestInvalid } from '#core/errors.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'

const tags = ['auth']

export function keyRoutes(app: App): void {
  // shownOnce, here and at rotate: a stored answer would hold the key's secret in the clear.
  app.route({
    method: 'POST',
    url: '/v1/keys',
    config: { permission: 'keys:write' },
    schema: { tags, summary: 'Make an API key; it is shown once', body: NewKey, response: { 201: CreatedKey } },
    handler: async (request, reply) => {
      const { name, scopes, expiresAt, actsFor = 'me', allowedIps = [] } = request.body
      const { userId = null } = request.auth
      const unknown = unknownScopes(scopes, app.permissions.keys())
      if (unknown.length > 0) {
        throw new RequestInvalid(
          unknown.map((i) => ({ pointer: `/scopes/${i}`, detail: `no room declares the permission ${scopes[i]}` }))
        )
      }
      if (expiresAt !== undefined && Date.parse(expiresAt) <= app.clock.now()) {
        throw new RequestInvalid([{ pointer: '/expiresAt', detail: 'is not in the future' }])
      }
      const wanted = {
        name,
        scopes,
        expiresAt: expiresAt === undefined ? null : new Date(expiresAt),
        userId: actsFor === 'me' ? userId : null,
        allowedIps
      }
      const answer = await idempotent(request, async (tx) => {
        const { key, row } = await createKey(app.auth, tx, request.auth, wanted)
        const headers = { location: `/v1/keys/${row.id}`, 'cache-control': 'no-store' }
        return { status: 201, body: { ...show(row), key: key.reveal() }, headers, shownOnce: true }
      })
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/keys',
    config: { permission: 'keys:read' },
    schema: {
      tags,
      summary: 'The keys of the tenant, newest first',
      querystring: PageQuery,
      response: { 200: pageOf(Key) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('keys', cursor)
      const rows = await request.tenant((tx) => listKeys(tx, limit, after))
      return page('keys', rows, limit, (row) => ({ createdAt: row.position, id: row.id }), show)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/keys/:id',
    config: { permission: 'keys:read' },
    schema: { tags, summary: 'One key, without its secret', params: IdParams, response: { 200: Key } },
    handler: async (request) => {
      const row = await request.tenant((tx) => findKey(tx, request.params.id))
      if (!row) throw new NotFound('key')
      return show(row)
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/keys/:id/rotate',
    config: { permission: 'keys:write' },
    schema: {
      tags,
      summary: 'Another secret for a key, shown once; the old one still works for a while',
      params: IdParams,
      body: RotateKey.nullish(),
      response: { 200: CreatedKey }
    },
    handler: async (request, reply) => {
      const { overlapMs } = request.body ?? RotateKey.parse({})
      const answer = await idempotent(request, async (tx) => {
        const options = { overlapMs, now: app.clock.now() }
        const { key, row } = await rotateKey(app.auth, tx, request.auth, request.params.id, options)
        const headers = { location: `/v1/keys/${row.id}`, 'cache-control': 'no-store' }
        return { status: 200, body: { ...show(row), key: key.reveal() }, headers, shownOnce: true }
      })
      app.auth.forget(answer.body.prefix)
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/keys/:id',
    config: { permission: 'keys:write' },
    schema: {
      tags,
      summary: 'Revoke a key: at once on this host, within 5 s on every other',
      params: IdParams,
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      app.auth.forget(await request.tenant((tx) => revokeKey(tx, request.auth, request.params.id)))
      return reply.status(204).send(null)
    }
  })
}

function show(row: KeyRow): Key {
  const { id, name, prefix, scopes, userId, allowedIps } = row
  const at = (time: Date | null) => time?.toISOString() ?? null
  return {
    id,
    name,
    prefix,
    scopes,
    userId,
    allowedIps,
    createdAt: row.createdAt.toISOString(),
    expiresAt: at(row.expiresAt),
    revokedAt: at(row.revokedAt),
    rotatedAt: at(row.rotatedAt),
    oldSecretUntil: at(row.oldSecretUntil),
    lastUsedAt: at(row.lastUsedAt)
  }
}
