import { z } from 'zod'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import type { App } from '#core/plugin.ts'
import { listMembers, removeMember, setRole } from '#core/tenants/members.ts'
import { ChangedMember, Member, MemberParams } from '#core/tenants/schema.ts'
import { showMember } from '#core/tenants/show.ts'

const tags = ['members']

export function memberRoutes(app: App): void {
  app.route({
    method: 'GET',
    url: '/v1/members',
    config: { permission: 'members:read' },
    schema: {
      tags,
      summary: 'Who is in the tenant, newest first',
      querystring: PageQuery,
      response: { 200: pageOf(Member) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('members', cursor)
      const rows = await request.tenant((tx) => listMembers(tx, limit, after))
      return page('members', rows, limit, (row) => ({ createdAt: row.position, id: row.userId }), showMember)
    }
  })

  app.route({
    method: 'PATCH',
    url: '/v1/members/:userId',
    config: { permission: 'members:write' },
    schema: {
      tags,
      summary: 'Give a member another role: at most the own one; at least one owner remains',
      params: MemberParams,
      body: ChangedMember,
      response: { 200: Member }
    },
    handler: async (request) => {
      const { userId } = request.params
      const member = await request.tenant((tx) => setRole(tx, request.auth, userId, request.body.role))
      app.auth.forgetUser(userId)
      return showMember(member)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/members/:userId',
    config: { permission: 'members:write' },
    schema: {
      tags,
      summary: 'Take a member out and revoke the keys that act for him: at once here, within 5 s on every other host',
      params: MemberParams,
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      const { userId } = request.params
      const prefixes = await request.tenant((tx) => removeMember(tx, request.auth, userId))
      app.auth.forgetUser(userId)
      for (const prefix of prefixes) app.auth.forget(prefix)
      return reply.status(204).send(null)
    }
  })
}
