import type { FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { audit } from '#core/audit/audit.ts'
import { type Answer, idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { insertInvitation } from '#core/tenants/invitations.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { findPlatform, inviteOwner } from '#core/tenants/platform.ts'
import { CreatedInvitation, CreatedPlatformTenant, NewOwner, NewPlatformTenant } from '#core/tenants/schema.ts'
import { showPlatform } from '#core/tenants/show.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { showInvited } from './invitations.ts'
import { config, note, operator, requirePlan, tags } from './operator.ts'

/**
 * New tenants, and owners for those who have none. Their answers hold secrets: shown once. The Idempotency-Key is Tenant
 * Zero's and stands in a transaction of its own; a crash between the two finds the slug, or the invitation, taken, one before the
 * owner's key leaves a tenant without one, into which an owner can be invited.
 */
export function provisionRoutes(app: App, plans: PlanTable): void {
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
      requirePlan(plans, request.body.plan)
      const answer = await idempotent(request, () => provision(app, request, request.body))
      if (answer.body.invitation) return sendAnswer(reply, answer)
      // Only now: who waits for a second connection of a pool while holding one may wait for himself.
      const key = await ownerKey(app, request, answer.body.id)
      return sendAnswer(reply, { ...answer, body: { ...answer.body, key } })
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
      const answer = await idempotent(request, async () => {
        const invited = await app.db.system(async (tx) => {
          const invited = await inviteOwner(tx, id, request.body.email, cause(request))
          await note(tx, request, await findPlatform(tx, id), { action: 'tenant.owner_invited' })
          return invited
        })
        return secretAnswer(`/v1/platform/tenants/${id}`, showInvited(invited))
      })
      return sendAnswer(reply, answer)
    }
  })
}

async function provision(
  app: App,
  request: FastifyRequest,
  { ownerEmail, agentLimit, cell, region, ...named }: z.output<typeof NewPlatformTenant>
): Promise<Answer<z.output<typeof CreatedPlatformTenant>>> {
  const { row, invited } = await app.db.system(async (tx) => {
    const { id } = await createTenant(tx, {
      ...named,
      ...(agentLimit === undefined ? {} : { agentLimit }),
      ...(cell === undefined ? {} : { cell }),
      ...(region === undefined ? {} : { region })
    })
    const owner = ownerEmail === undefined ? null : { email: ownerEmail, role: 'owner' as const }
    const invited = owner && (await insertInvitation(tx, id, owner, cause(request)))
    const row = await findPlatform(tx, id)
    await note(tx, request, row, { action: 'tenant.provisioned', details: { plan: named.plan } })
    return { row, invited }
  })
  const tenant = showPlatform(row)
  const place = `/v1/platform/tenants/${row.id}`
  if (invited) return secretAnswer(place, { ...tenant, invitation: showInvited(invited) })
  return secretAnswer(place, tenant)
}

// In a transaction of its tenant. A crash before it leaves a tenant without an owner: see above.
async function ownerKey(app: App, request: FastifyRequest, tenantId: string): Promise<string> {
  return await app.db.tenant({ tenantId, actor: operator(request) }, async (tx) => {
    const made = await app.auth.createKey(tx, { name: 'owner', scopes: ['*'] })
    await audit(tx, { action: 'key.created', subject: `key:${made.row.id}`, details: { scopes: '*' } })
    return made.key.reveal()
  })
}

function secretAnswer<Body>(location: string, body: Body): Answer<Body> {
  return { status: 201, body, headers: { location, 'cache-control': 'no-store' }, shownOnce: true }
}

function cause(request: FastifyRequest): string {
  return `operator:${operator(request).id}`
}
