import { byId, type RouteRow } from './row.ts'

export const authRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/whoami': { permission: 'authenticated', ok: [200] },
  'POST /v1/keys': {
    permission: 'keys:write',
    ok: [201],
    request: (who) => ({ payload: { name: `${who.canary} made`, scopes: ['keys:write'] } }),
    bodies: ({ tenantId }) => [['a tenant', { name: 'x', scopes: ['keys:write'], tenantId }, 400]]
  },
  'GET /v1/keys': { permission: 'keys:read', ok: [200], list: true },
  'DELETE /v1/keys/:id': {
    permission: 'keys:write',
    ok: [204],
    ...byId(
      (world, who) => world.key(who),
      (who) => who.keyId
    )
  }
}
