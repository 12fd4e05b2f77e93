import { z } from 'zod'
import { ScopeTooWide } from '#core/auth/errors.ts'
import { CreatedKey, Key, NewKey, WhoAmI } from '#core/auth/schema.ts'
import { permits, unknownScopes } from '#core/auth/scopes.ts'
import { type KeyRow, listKeys, revokeKey } from '#core/auth/store.ts'
import { NotFound, RequestInvalid } from '#core/errors.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import { must } from '#core/must.ts'
import type { App } from '#core/plugin.ts'
import { findTenant } from '#core/tenants/tenants.ts'

const tags = ['auth']

export function authRoutes(app: App): void {
  // No Idempotency-Key here: its stored answer would hold the key's secret in the clear.
  app.route({
    method: 'POST',
    url: '/v1/keys',
    config: { permission: 'keys:write' },
    schema: { tags, summary: 'Make an API key; it is shown once', body: NewKey, response: { 201: CreatedKey } },
    handler: async (request, reply) => {
      const { name, scopes, expiresAt } = request.body
      const unknown = unknownScopes(scopes, app.permissions.keys())
      if (unknown.length > 0) {
        throw new RequestInvalid(
          unknown.map((i) => ({ pointer: `/scopes/${i}`, detail: `no room declares the permission ${scopes[i]}` }))
        )
      }
      if (expiresAt !== undefined && Date.parse(expiresAt) <= app.clock.now()) {
        throw new RequestInvalid([{ pointer: '/expiresAt', detail: 'is not in the future' }])
      }
      const tooWide = scopes.filter((scope) => !permits(request.auth, scope))
      if (tooWide.length > 0) throw new ScopeTooWide(tooWide)
      const { key, row } = await request.tenant((tx) =>
        app.auth.createKey(tx, { name, scopes, expiresAt: expiresAt === undefined ? null : new Date(expiresAt) })
      )
      return reply
        .status(201)
        .headers({ location: `/v1/keys/${row.id}`, 'cache-control': 'no-store' })
        .send({ ...show(row), key: key.reveal() })
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
      const prefix = await request.tenant((tx) => revokeKey(tx, request.params.id))
      if (prefix === null) throw new NotFound('key')
      app.auth.forget(prefix)
      return reply.status(204).send(null)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/whoami',
    config: { permission: 'authenticated' },
    schema: { tags, summary: 'Whose key this is and what it may do', response: { 200: WhoAmI } },
    handler: async (request) => {
      const { tenantId, keyId = null, userId = null, scopes } = request.auth
      const { name, slug, plan } = must(await request.tenant((tx) => findTenant(tx, tenantId)), 'the tenant of a key')
      return { tenantId, tenant: { name, slug, plan }, keyId, userId, scopes: [...scopes] }
    }
  })
}

function show(row: KeyRow): Key {
  return {
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: row.scopes,
    userId: row.userId,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null
  }
}
