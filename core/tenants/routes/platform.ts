import type { FastifyRequest } from 'fastify'
import { type AuditEntry, auditAs } from '#core/audit/audit.ts'
import type { Tx } from '#core/db/types.ts'
import { decodeCursor, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { TenantUnconfirmed } from '#core/tenants/errors.ts'
import { TenantPlanChanged } from '#core/tenants/events.ts'
import { deleteTenant, restoreTenant, resumeTenant, suspendTenant } from '#core/tenants/lifecycle.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { changePlatform, findPlatform, listPlatform } from '#core/tenants/platform.ts'
import { ChangedPlatformTenant, Deletion, PlatformQuery, PlatformTenant, Suspension } from '#core/tenants/schema.ts'
import { showPlatform } from '#core/tenants/show.ts'
import { TENANT_ZERO, type Tenant } from '#core/tenants/tenants.ts'
import { config, note, operator, requirePlan, tags } from './operator.ts'

const dayMs = 86_400_000

/** Tenant Zero's routes about tenants: no row of a tenant is read, and each use is in the touched tenant's audit log. */
export function platformRoutes(app: App, plans: PlanTable): void {
  /** One change of one tenant, audited in it. */
  const touch = async (
    request: FastifyRequest<{ Params: { id: string } }>,
    entry: Pick<AuditEntry, 'action' | 'details'>,
    work: (tx: Tx, id: string) => Promise<Tenant | undefined>
  ) => {
    const { id } = request.params
    const row = await app.db.system(async (tx) => {
      await work(tx, id)
      const row = await findPlatform(tx, id)
      await note(tx, request, row, entry)
      return row
    })
    app.auth.forgetTenant(id)
    return showPlatform(row)
  }

  app.route({
    method: 'GET',
    url: '/v1/platform/tenants',
    config,
    schema: {
      tags,
      summary: 'Tenants, newest first: metadata and counts, no content',
      querystring: PlatformQuery,
      response: { 200: pageOf(PlatformTenant) }
    },
    handler: async (request) => {
      const { limit, cursor, state, slug } = request.query
      const after = decodeCursor('platform-tenants', cursor)
      const rows = await app.db.system(async (tx) => {
        const rows = await listPlatform(tx, { state, slug }, limit, after)
        // No single tenant is touched: the list is noted where it was asked for.
        await auditAs(tx, TENANT_ZERO, operator(request), { action: 'tenants.listed', subject: 'platform:tenants' })
        return rows
      })
      return page(
        'platform-tenants',
        rows,
        limit,
        (row) => ({ createdAt: row.position, id: row.id }),
        (row) => showPlatform(row)
      )
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/platform/tenants/:id',
    config,
    schema: {
      tags,
      summary: 'One tenant: metadata and counts, no content',
      params: IdParams,
      response: { 200: PlatformTenant }
    },
    handler: async (request) => {
      const row = await app.db.system(async (tx) => {
        const row = await findPlatform(tx, request.params.id)
        await note(tx, request, row, { action: 'tenant.viewed' })
        return row
      })
      return showPlatform(row)
    }
  })

  app.route({
    method: 'PATCH',
    url: '/v1/platform/tenants/:id',
    config,
    schema: {
      tags,
      summary: 'Change plan, agent limit, cell or region',
      params: IdParams,
      body: ChangedPlatformTenant,
      response: { 200: PlatformTenant }
    },
    handler: async (request) => {
      requirePlan(plans, request.body.plan)
      const details = Object.fromEntries(
        Object.entries(request.body).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
      )
      return await touch(request, { action: 'tenant.changed', details }, async (tx, id) => {
        const [before, after] = await changePlatform(tx, id, request.body)
        if (before.plan !== after.plan && app.hasDecorator('bus')) {
          const data = { from: before.plan, to: after.plan }
          await app.bus.emitAll(tx, [{ type: TenantPlanChanged, subjectId: id, data, tenantId: id }])
        }
        return after
      })
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/platform/tenants/:id/suspend',
    config,
    schema: {
      tags,
      summary: 'Suspend: within 5 s its requests are 403, its sockets closed, its sessions and jobs stand still',
      params: IdParams,
      body: Suspension,
      response: { 200: PlatformTenant }
    },
    handler: (request) =>
      touch(request, { action: 'tenant.suspended', details: request.body }, (tx, id) =>
        suspendTenant(tx, id, request.body.reason)
      )
  })

  app.route({
    method: 'POST',
    url: '/v1/platform/tenants/:id/resume',
    config,
    schema: {
      tags,
      summary: 'End a suspension: what stood still goes on where it was',
      params: IdParams,
      response: { 200: PlatformTenant }
    },
    handler: (request) => touch(request, { action: 'tenant.resumed' }, resumeTenant)
  })

  app.route({
    method: 'DELETE',
    url: '/v1/platform/tenants/:id',
    config,
    schema: {
      tags,
      summary: 'Delete: suspended at once, erased after `graceDays` (30). 0 needs `confirm`, the slug',
      params: IdParams,
      body: Deletion,
      response: { 202: PlatformTenant }
    },
    handler: async (request, reply) => {
      const { graceDays, confirm } = request.body
      const details = { graceDays }
      const tenant = await touch(request, { action: 'tenant.deleted', details }, async (tx, id) => {
        const { slug } = await findPlatform(tx, id)
        if (graceDays === 0 ? confirm !== slug : confirm !== undefined && confirm !== slug) {
          throw new TenantUnconfirmed()
        }
        return await deleteTenant(tx, id, 'platform', graceDays * dayMs)
      })
      return reply.status(202).send(tenant)
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/platform/tenants/:id/restore',
    config,
    schema: {
      tags,
      summary: 'Undo a deletion within its grace time',
      params: IdParams,
      response: { 200: PlatformTenant }
    },
    handler: (request) => touch(request, { action: 'tenant.restored' }, (tx, id) => restoreTenant(tx, id, 'platform'))
  })
}
