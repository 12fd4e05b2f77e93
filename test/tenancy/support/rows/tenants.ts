import { nowhere, type RouteRow } from './row.ts'

// Members and invitations are made by SQL for each request: the plan's team would be full after ten.
const member: Pick<RouteRow, 'own' | 'had' | 'absent'> = {
  own: async (world, who) => ({ userId: await world.member(who) }),
  had: (who) => ({ userId: who.memberId }),
  absent: () => ({ userId: nowhere })
}
const invitation: Pick<RouteRow, 'own' | 'had' | 'absent'> = {
  own: async (world, who) => ({ id: await world.invitation(who) }),
  had: (who) => ({ id: who.invitationId }),
  absent: () => ({ id: nowhere })
}
const anyone = () => `n${Math.random().toString(36).slice(2)}@example.com`
/** Platform routes are asked without a body, about nobody. */
const platform = (...ok: number[]): RouteRow => ({ permission: 'platform:tenants', ok })

export const tenantRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/tenant': { permission: 'tenant:read', ok: [200] },
  'PATCH /v1/tenant': {
    permission: 'tenant:write',
    ok: [200],
    request: (who) => ({ payload: { name: `${who.canary} renamed` } }),
    bodies: ({ tenantId }) => [['a tenant', { name: 'x', id: tenantId }, 400]]
  },
  // Who asks is found out inside: a user who is in several tenants names none.
  'GET /v1/tenants': { permission: 'public', ok: [200, 401] },
  // Unconfirmed: the tenant is needed by all the others.
  'DELETE /v1/tenant': {
    permission: 'tenant:delete',
    ok: [409],
    request: () => ({ payload: { confirm: 'not-its-slug' } }),
    bodies: ({ tenantId }) => [['a tenant', { confirm: tenantId }, 409]]
  },
  'POST /v1/tenant/restore': { permission: 'tenant:delete', ok: [409] },
  'GET /v1/tenant/export': { permission: 'tenant:export', ok: [200] },
  'GET /v1/members': { permission: 'members:read', ok: [200], list: true },
  // 403: a key gives no role whose permissions it does not hold.
  'PATCH /v1/members/:userId': {
    permission: 'members:write',
    ok: [200, 403],
    request: () => ({ payload: { role: 'viewer' } }),
    ...member
  },
  'DELETE /v1/members/:userId': { permission: 'members:write', ok: [204, 403], ...member },
  'POST /v1/invitations': {
    permission: 'members:write',
    ok: [201, 402, 403],
    request: () => ({ payload: { email: anyone(), role: 'viewer' } }),
    bodies: ({ tenantId }) => [['a tenant', { email: 'x@example.com', role: 'viewer', tenantId }, 400]]
  },
  'GET /v1/invitations': { permission: 'members:read', ok: [200], list: true },
  'DELETE /v1/invitations/:id': { permission: 'members:write', ok: [204], ...invitation },
  // 401: what is sent is the key of a tenant where a user's token is asked for.
  'POST /v1/invitations/accept': {
    permission: 'public',
    ok: [401, 410],
    request: () => ({ payload: { token: 'inv_nobody', password: 'correct horse battery' } }),
    bodies: ({ tenantId }) => [['a tenant', { token: 'inv_nobody', password: 'correct horse battery', tenantId }, 400]]
  },
  'POST /v1/platform/tenants': platform(400),
  'GET /v1/platform/tenants': platform(200),
  'GET /v1/platform/tenants/:id': platform(404),
  'PATCH /v1/platform/tenants/:id': platform(400, 404),
  'DELETE /v1/platform/tenants/:id': platform(400, 404),
  'POST /v1/platform/tenants/:id/owner': platform(400, 404),
  'POST /v1/platform/tenants/:id/suspend': platform(400, 404),
  'POST /v1/platform/tenants/:id/resume': platform(404),
  'POST /v1/platform/tenants/:id/restore': platform(404)
}
