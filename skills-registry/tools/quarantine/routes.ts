import { auditAs } from '#core/audit/audit.ts'
import { causeOf } from '#core/auth/actor.ts'
import { NotFound } from '#core/errors.ts'
import { pending } from '#core/events.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { findPlatform } from '#core/tenants/platform.ts'
import { note, operator } from '#core/tenants/routes/operator.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { ToolQuarantineLifted } from '../events.ts'
import { QuarantineLifted } from './errors.ts'
import type { Quarantine } from './quarantine.ts'
import {
  Lift,
  PlatformQuarantine,
  PlatformQuarantineQuery,
  ShownQuarantine,
  showForPlatform,
  showQuarantine
} from './schema.ts'
import {
  findQuarantine,
  liftQuarantine,
  listAllQuarantines,
  listQuarantines,
  type QuarantineRow,
  type RankedRow
} from './store.ts'

/** Goes into the room's manifest. */
export const quarantinePermissions = {
  'platform:quarantine': 'See which skill versions are in quarantine, in any tenant, and lift it.'
}

const positionOf = (row: RankedRow) => ({ createdAt: row.position, id: row.id })

/** A tenant sees its quarantines; the operator sees and lifts everybody's. */
export function quarantineRoutes(app: App, quarantine: Pick<Quarantine, 'forget'>): void {
  app.route({
    method: 'GET',
    url: '/v1/skills/quarantines',
    config: { permission: 'skills:read' },
    schema: {
      tags: ['skills'],
      summary: 'Skill versions that crashed too often: those that stand still first, then those that were lifted',
      querystring: PageQuery,
      response: { 200: pageOf(ShownQuarantine) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('quarantines', cursor)
      const rows = await request.tenant((tx) => listQuarantines(tx, limit, after))
      return page('quarantines', rows, limit, positionOf, showQuarantine)
    }
  })

  const config = { permission: 'platform:quarantine', audited: true }
  const tags = ['platform']

  app.route({
    method: 'GET',
    url: '/v1/platform/quarantines',
    config,
    schema: {
      tags,
      summary: 'Quarantined skill versions of all tenants, or of one: open ones first',
      querystring: PlatformQuarantineQuery,
      response: { 200: pageOf(PlatformQuarantine) }
    },
    handler: async (request) => {
      const { limit, cursor, tenant } = request.query
      const after = decodeCursor('platform-quarantines', cursor)
      const action = 'quarantines.listed'
      const rows = await app.db.system(async (tx) => {
        // No single tenant is touched by the whole list: that is noted where it was asked for.
        if (tenant !== undefined) await note(tx, request, await findPlatform(tx, tenant), { action })
        else await auditAs(tx, TENANT_ZERO, operator(request), { action, subject: 'platform:quarantines' })
        return await listAllQuarantines(tx, tenant, limit, after)
      })
      return page('platform-quarantines', rows, limit, positionOf, showForPlatform)
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/platform/quarantines/:id/lift',
    config,
    schema: {
      tags,
      summary: 'Lift a quarantine: the version runs again within 5 s on every host, and its crashes count anew',
      params: IdParams,
      body: Lift,
      response: { 200: PlatformQuarantine }
    },
    handler: async (request) => {
      const { id } = request.params
      const { reason } = request.body
      const row = await app.db.system(async (tx) => {
        const lifted = await liftQuarantine(tx, id, { by: causeOf(request.auth), reason })
        if (!lifted) throw whyNot(await findQuarantine(tx, id))
        const { tenantId, skillId, skill, version, digest } = lifted
        const details = { quarantineId: id, skill, version, digest, reason }
        await note(tx, request, await findPlatform(tx, tenantId), { action: 'quarantine.lifted', details })
        const data = { skillId, skill, version, digest, quarantineId: id, reason }
        await app.bus.emitAll(tx, [pending(ToolQuarantineLifted, skillId, data, tenantId)])
        return lifted
      })
      quarantine.forget(row.tenantId, row.digest)
      return showForPlatform(row)
    }
  })
}

function whyNot(row: QuarantineRow | undefined): Error {
  if (!row?.liftedAt) return new NotFound('quarantine')
  return new QuarantineLifted(row.liftedAt.toISOString(), row.liftedBy ?? '')
}
