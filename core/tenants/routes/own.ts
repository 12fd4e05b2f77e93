import type { FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { auditAs } from '#core/audit/audit.ts'
import { actorOf } from '#core/auth/actor.ts'
import { bearer } from '#core/auth/guard.ts'
import { decodeCursor, PageQuery, type Position, page, pageOf } from '#core/http/page.ts'
import { must } from '#core/must.ts'
import type { App } from '#core/plugin.ts'
import { TenantUnconfirmed } from '#core/tenants/errors.ts'
import { deleteTenant, restoreTenant } from '#core/tenants/lifecycle.ts'
import { type JoinedRow, listJoined } from '#core/tenants/members.ts'
import { changeTenant } from '#core/tenants/own.ts'
import { ChangedTenant, DeletedTenant, Membership, OwnTenant } from '#core/tenants/schema.ts'
import { showOwn } from '#core/tenants/show.ts'
import { findTenant } from '#core/tenants/tenants.ts'

const tags = ['tenants']
const graceMs = 30 * 86_400_000

export function ownRoutes(app: App): void {
  app.route({
    method: 'GET',
    url: '/v1/tenant',
    config: { permission: 'tenant:read', whileDeleting: true },
    schema: { tags, summary: "The caller's tenant", response: { 200: OwnTenant } },
    handler: async (request) => {
      const { tenantId } = request.auth
      return showOwn(must(await request.tenant((tx) => findTenant(tx, tenantId)), 'the own tenant'))
    }
  })

  app.route({
    method: 'PATCH',
    url: '/v1/tenant',
    config: { permission: 'tenant:write' },
    schema: { tags, summary: 'Change its name or settings', body: ChangedTenant, response: { 200: OwnTenant } },
    handler: async (request) => {
      const { tenantId } = request.auth
      return showOwn(await request.tenant((tx) => changeTenant(tx, tenantId, request.body)))
    }
  })

  // Public to the guard: somebody who is in several tenants asks here which ones, before a tenant can be named.
  app.route({
    method: 'GET',
    url: '/v1/tenants',
    config: { permission: 'public' },
    schema: {
      tags,
      summary: "The tenants of a user, the first joined first; of a key, its one. Needs a key or a user's token",
      querystring: PageQuery,
      response: { 200: pageOf(Membership) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('tenants', cursor)
      const rows = await membershipsOf(app, request, limit, after)
      return page('tenants', rows, limit, (row) => ({ createdAt: row.position, id: row.tenantId }), show)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/tenant',
    config: { permission: 'tenant:delete' },
    schema: {
      tags,
      summary: 'Delete the tenant: suspended at once, erased after 30 days, until then an owner may restore it',
      body: DeletedTenant,
      response: { 202: OwnTenant }
    },
    handler: async (request, reply) => {
      const { tenantId, tenantSlug } = request.auth
      if (request.body.confirm !== tenantSlug) throw new TenantUnconfirmed()
      const tenant = await app.db.system(async (tx) => {
        const deleted = await deleteTenant(tx, tenantId, 'owner', graceMs)
        await auditAs(tx, tenantId, actor(request), { action: 'tenant.deleted', subject: `tenant:${tenantId}` })
        return deleted
      })
      app.auth.forgetTenant(tenantId)
      return reply.status(202).send(showOwn(tenant))
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/tenant/restore',
    config: { permission: 'tenant:delete', whileDeleting: true },
    schema: { tags, summary: 'Undo the deletion within its grace time', response: { 200: OwnTenant } },
    handler: async (request) => {
      const { tenantId } = request.auth
      const tenant = await app.db.system(async (tx) => {
        const restored = await restoreTenant(tx, tenantId, 'owner')
        await auditAs(tx, tenantId, actor(request), { action: 'tenant.restored', subject: `tenant:${tenantId}` })
        return restored
      })
      app.auth.forgetTenant(tenantId)
      return showOwn(tenant)
    }
  })
}

// The platform's columns are written as agentos_system, and put down to who asked all the same.
function actor(request: FastifyRequest) {
  return actorOf(request.auth, { requestId: request.id, from: request.ip })
}

async function membershipsOf(
  app: App,
  request: FastifyRequest,
  limit: number,
  after: Position | null
): Promise<JoinedRow[]> {
  const token = bearer(request)
  if (token?.startsWith('ak_')) {
    const { tenantId, role = null } = (await app.auth.prove(token, { from: request.ip, whileDeleting: true })).identity
    const tenant = must(await app.db.tenant(tenantId, (tx) => findTenant(tx, tenantId)), 'the tenant of a key')
    return after ? [] : [{ ...tenant, tenantId, role, position: '' }]
  }
  const { userId } = await app.auth.userOf(token, request.ip)
  return await app.db.system((tx) => listJoined(tx, userId, limit, after))
}

function show({ tenantId, slug, name, role, suspendedBy }: JoinedRow): z.output<typeof Membership> {
  return { id: tenantId, name, slug, role, suspended: suspendedBy !== null }
}
