import { z } from 'zod'
import { EmailTaken } from '#core/auth/errors.ts'
import { bearer } from '#core/auth/guard.ts'
import { createUser, hashPassword } from '#core/auth/users.ts'
import type { Tx } from '#core/db/types.ts'
import { RequestInvalid } from '#core/errors.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'
import { InvitationSignIn } from '#core/tenants/errors.ts'
import { acceptInvitation, type Invited, invite, listInvitations, revokeInvitation } from '#core/tenants/invitations.ts'
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
      summary: 'Accept an invitation: signed in with a token of the user, or as a new user with a password',
      body: AcceptedInvitation,
      response: { 200: Acceptance }
    },
    handler: async (request) => {
      const { token, password } = request.body
      const userOf = await userMaker(app, bearer(request), password)
      const from = { requestId: request.id, from: request.ip }
      const accepted = await app.db.system((tx) =>
        acceptInvitation(tx, plans, token, (email) => userOf(tx, email), from)
      )
      app.auth.forgetUser(accepted.userId)
      return accepted
    }
  })
}

// Before the transaction: verifying a token and hashing a password take long.
async function userMaker(
  app: App,
  token: string | undefined,
  password: string | undefined
): Promise<(tx: Tx, email: string) => Promise<string>> {
  if (token !== undefined) {
    const { userId } = await app.auth.userOf(token)
    return async () => userId
  }
  if (password === undefined) {
    throw new RequestInvalid([{ pointer: '/password', detail: 'required without a token of a signed-in user' }])
  }
  const hash = await hashPassword(password)
  return async (tx, email) => {
    try {
      return (await createUser(tx, { email, password: hash })).id
    } catch (error) {
      throw error instanceof EmailTaken ? new InvitationSignIn() : error
    }
  }
}

/** `acceptUrl` is a path of this API, for whoever makes a link of it. */
export function showInvited({ row, token }: Invited): z.output<typeof CreatedInvitation> {
  return { ...showInvitation(row), token: token.reveal(), acceptUrl: ACCEPT }
}
