import type { FastifyRequest } from 'fastify'
import { type AuditEntry, auditAs } from '#core/audit/audit.ts'
import { actorOf } from '#core/auth/actor.ts'
import type { Tx } from '#core/db/types.ts'
import { RequestInvalid } from '#core/errors.ts'
import { decodeCursor, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { TenantUnconfirmed } from '#core/tenants/errors.ts'
import { TenantPlanChanged } from '#core/tenants/events.ts'
import { insertInvitation } from '#core/tenants/invitations.ts'
import { deleteTenant, restoreTenant, resumeTenant, suspendTenant } from '#core/tenants/lifecycle.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { changePlatform, findPlatform, inviteOwner, listPlatform, type PlatformRow } from '#core/tenants/platform.ts'
import {
  ChangedPlatformTenant,
  CreatedInvitation,
  CreatedPlatformTenant,
  Deletion,
  NewOwner,
  NewPlatformTenant,
  PlatformQuery,
  PlatformTenant,
  Suspension
} from '#core/tenants/schema.ts'
import { showPlatform } from '#core/tenants/show.ts'
import { createTenant, TENANT_ZERO, type Tenant } from '#core/tenants/tenants.ts'
import { showInvited } from './invitations.ts'

const tags = ['platform']
const dayMs = 86_400_000
const config = { permission: 'platform:tenants' }

/** Tenant Zero's routes about tenants: no row of a tenant is read, and each use is in the touched tenant's audit log. */
export function platformRoutes(app: App, plans: PlanTable): void {
  const requirePlan = (plan: string | undefined) => {
    const names = Object.keys(plans.plans)
    if (plan === undefined || names.length === 0 || names.includes(plan)) return
    throw new RequestInvalid([{ pointer: '/plan', detail: `is none of ${names.join(', ')}` }])
  }

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
    method: 'POST',
    url: '/v1/platform/tenants',
    config,
    schema: {
      tags,
      summary: "Make a tenant. Its first owner's invitation, or an API key with all scopes, is in this one answer",
      body: NewPlatformTenant,
      response: { 201: CreatedPlatformTenant }
    },
    handler: async (request, reply) => {
      const { ownerEmail, agentLimit, cell, region, ...named } = request.body
      requirePlan(named.plan)
      const { row, invited } = await app.db.system(async (tx) => {
        const { id } = await createTenant(tx, {
          ...named,
          ...(agentLimit === undefined ? {} : { agentLimit }),
          ...(cell === undefined ? {} : { cell }),
          ...(region === undefined ? {} : { region })
        })
        const owner = ownerEmail === undefined ? null : { email: ownerEmail, role: 'owner' as const }
        const invited = owner && (await insertInvitation(tx, id, owner, operatorCause(request)))
        const row = await findPlatform(tx, id)
        await note(tx, request, row, { action: 'tenant.provisioned', details: { plan: named.plan } })
        return { row, invited }
      })
      // A key is made in a transaction of its tenant. A crash before it leaves a tenant to delete, or to invite an owner to.
      const made = invited ? null : await firstKey(app, request, row.id)
      return reply
        .status(201)
        .headers({ location: `/v1/platform/tenants/${row.id}`, 'cache-control': 'no-store' })
        .send({
          ...showPlatform(row),
          ...(made ? { key: made } : {}),
          ...(invited ? { invitation: showInvited(invited) } : {})
        })
    }
  })

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
      requirePlan(request.body.plan)
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
    url: '/v1/platform/tenants/:id/owner',
    config,
    schema: {
      tags,
      summary: 'Invite an owner into a tenant that has none, and no key or invitation that could name one',
      params: IdParams,
      body: NewOwner,
      response: { 201: CreatedInvitation }
    },
    handler: async (request, reply) => {
      const { id } = request.params
      const invited = await app.db.system(async (tx) => {
        const invited = await inviteOwner(tx, id, request.body.email, operatorCause(request))
        await note(tx, request, await findPlatform(tx, id), { action: 'tenant.owner_invited' })
        return invited
      })
      return reply.status(201).headers({ 'cache-control': 'no-store' }).send(showInvited(invited))
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

function operator(request: FastifyRequest) {
  return { ...actorOf(request.auth, { requestId: request.id, from: request.ip }), kind: 'operator' as const }
}

function operatorCause(request: FastifyRequest): string {
  return `operator:${operator(request).id}`
}

// What is being erased must not get new rows: it is noted with the operator.
async function note(
  tx: Tx,
  request: FastifyRequest,
  { id, eraseAt, erasedAt }: PlatformRow,
  entry: Pick<AuditEntry, 'action' | 'details'>
): Promise<void> {
  const going = erasedAt !== null || (eraseAt !== null && eraseAt.getTime() <= request.server.clock.now())
  await auditAs(tx, going ? TENANT_ZERO : id, operator(request), { ...entry, subject: `tenant:${id}` })
}

async function firstKey(app: App, request: FastifyRequest, tenantId: string): Promise<string> {
  return await app.db.tenant({ tenantId, actor: operator(request) }, async (tx) => {
    const { key } = await app.auth.createKey(tx, { name: 'owner', scopes: ['*'] })
    return key.reveal()
  })
}
