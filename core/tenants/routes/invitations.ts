import { z } from 'zod'
import { EmailTaken } from '#core/auth/errors.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { accepting } from '#core/tenants/accepting.ts'
import {
  acceptInvitation,
  type Invited,
  invite,
  invitedAddress,
  listInvitations,
  revokeInvitation
} from '#core/tenants/invitations.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { Acceptance, AcceptedInvitation, CreatedInvitation, Invitation, NewInvitation } from '#core/tenants/schema.ts'
import { showInvitation } from '#core/tenants/show.ts'

const tags = ['members']
const ACCEPT = '/v1/invitations/accept'

export function invitationRoutes(app: App, plans: PlanTable): void {
  // shownOnce: a stored answer would hold the token in the clear.
  app.route({
    method: 'POST',
    url: '/v1/invitations',
    config: { permission: 'members:write' },
    schema: {
      tags,
      summary: 'Invite somebody. No e-mail is sent: the token is shown once, whoever invites hands it over; 7 days',
      body: NewInvitation,
      response: { 201: CreatedInvitation }
    },
    handler: async (request, reply) => {
      const answer = await idempotent(request, async (tx) => {
        const invited = await invite(tx, plans, request.auth, request.body)
        const headers = { location: `/v1/invitations/${invited.row.id}`, 'cache-control': 'no-store' }
        return { status: 201, body: showInvited(invited), headers, shownOnce: true }
      })
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/invitations',
    config: { permission: 'members:read' },
    schema: {
      tags,
      summary: 'Invitations, newest first',
      querystring: PageQuery,
      response: { 200: pageOf(Invitation) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('invitations', cursor)
      const rows = await request.tenant((tx) => listInvitations(tx, limit, after))
      return page('invitations', rows, limit, (row) => ({ createdAt: row.position, id: row.id }), showInvitation)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/invitations/:id',
    config: { permission: 'members:write' },
    schema: { tags, summary: 'Revoke an open invitation', params: IdParams, response: { 204: z.null() } },
    handler: async (request, reply) => {
      await request.tenant((tx) => revokeInvitation(tx, request.params.id))
      return reply.status(204).send(null)
    }
  })

  // Public: who accepts is in no tenant yet, and maybe no user either. The token is the credential.
  app.route({
    method: 'POST',
    url: ACCEPT,
    config: { permission: 'public', limit: 'auth' },
    schema: {
      tags,
      summary:
        'Accept an invitation: signed in with a token of the user, or with the password of the user of this address, who is made where there is none',
      body: AcceptedInvitation,
      response: { 200: Acceptance }
    },
    handler: async (request) => {
      const { token } = request.body
      // First: who has no invitation costs no hash.
      const email = await app.db.system((tx) => invitedAddress(tx, token))
      const from = { requestId: request.id, from: request.ip }
      const accept = async () => {
        const userOf = await accepting(app, request, email)
        return await app.db.system((tx) => acceptInvitation(tx, plans, token, () => userOf(tx), from))
      }
      const accepted = await accept().catch((error) => {
        // Another invitation to this address was accepted meanwhile: now it has a user.
        if (error instanceof EmailTaken) return accept()
        throw error
      })
      app.auth.forgetUser(accepted.userId)
      return accepted
    }
  })
}

/** `acceptUrl` is a path of this API, for whoever makes a link of it. */
export function showInvited({ row, token }: Invited): z.output<typeof CreatedInvitation> {
  return { ...showInvitation(row), token: token.reveal(), acceptUrl: ACCEPT }
}
