import { z } from 'zod'
import { audit } from '#core/audit/audit.ts'
import { ScopeTooWide } from '#core/auth/errors.ts'
import { Operator, SetOperator } from '#core/auth/schema.ts'
import { permits, unknownScopes } from '#core/auth/scopes.ts'
import { NotFound, RequestInvalid } from '#core/errors.ts'
import { IdParams } from '#core/http/validation.ts'
import type { App } from '#core/plugin.ts'

const tags = ['platform']

/** Which members of Tenant Zero hold which platform permissions. Their own tenant's rows, hence `request.tenant`. */
export function operatorRoutes(app: App): void {
  app.route({
    method: 'GET',
    url: '/v1/platform/operators',
    config: { permission: 'platform:operators' },
    schema: {
      tags,
      summary: 'Members of Tenant Zero with platform permissions; its owners have all of them',
      response: { 200: z.object({ data: z.array(Operator), nextCursor: z.null() }) }
    },
    handler: async (request) => {
      const rows = await request.tenant(
        (tx) => tx<{ userId: string; role: string; permissions: string[] }[]>`
          select user_id as "userId", role, case role when 'owner' then '{platform:*}' else platform end as permissions
          from core.member where role = 'owner' or cardinality(platform) > 0 order by created_at, user_id limit 200`
      )
      return { data: rows, nextCursor: null }
    }
  })

  app.route({
    method: 'PUT',
    url: '/v1/platform/operators/:id',
    config: { permission: 'platform:operators' },
    schema: {
      tags,
      summary: 'Give a member of Tenant Zero exactly these platform permissions; an empty list takes them away',
      params: IdParams,
      body: SetOperator,
      response: { 200: Operator }
    },
    handler: async (request) => {
      const { id } = request.params
      const { permissions } = request.body
      const unknown = unknownScopes(permissions, app.permissions.keys())
      if (unknown.length > 0) {
        throw new RequestInvalid(
          unknown.map((i) => ({ pointer: `/permissions/${i}`, detail: 'no room declares this permission' }))
        )
      }
      const row = await request.tenant(async (tx) => {
        const [before] = await tx<{ platform: string[] }[]>`
          select platform from core.member where user_id = ${id} for update`
        if (!before) throw new NotFound('member')
        // What stays as it is was somebody else's to give.
        const changed = [...new Set(permissions).symmetricDifference(new Set(before.platform))]
        const tooWide = changed.filter((permission) => !permits(request.auth, permission))
        if (tooWide.length > 0) throw new ScopeTooWide(tooWide)
        const [after] = await tx<{ userId: string; role: string; permissions: string[] }[]>`
          update core.member set platform = ${permissions} where user_id = ${id}
          returning user_id as "userId", role, platform as permissions`
        await audit(tx, {
          action: 'operator.changed',
          subject: `user:${id}`,
          before: before.platform,
          after: permissions,
          details: { permissions: permissions.join(' ') }
        })
        return after
      })
      app.auth.forgetUser(id)
      return row as z.output<typeof Operator>
    }
  })
}
