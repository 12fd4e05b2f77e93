import type { Citizen, World } from '../world.ts'
import { byId, open, type RouteRow } from './row.ts'

export const authRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/whoami': { permission: 'authenticated', ok: [200] },
  'POST /v1/keys': {
    permission: 'keys:write',
    ok: [201],
    request: (who) => ({ payload: { name: `${who.canary} made`, scopes: ['keys:write'] } }),
    bodies: ({ tenantId }) => [['a tenant', { name: 'x', scopes: ['keys:write'], tenantId }, 400]]
  },
  'GET /v1/keys': { permission: 'keys:read', ok: [200], list: true },
  'GET /v1/keys/:id': {
    permission: 'keys:read',
    ok: [200],
    ...byId(
      (world, who) => world.key(who),
      (who) => who.keyId
    )
  },
  'POST /v1/keys/:id/rotate': {
    permission: 'keys:write',
    ok: [200],
    ...byId(modestKey, (who) => who.keyId)
  },
  'POST /v1/auth/token': {
    permission: 'public',
    ok: [401],
    request: () => ({ payload: { refreshToken: 'rt_live_nobody' } }),
    bodies: ({ tenantId }) => [['a tenant', { refreshToken: 'rt_live_nobody', tenantId }, 400]]
  },
  'POST /v1/auth/logout': {
    permission: 'public',
    ok: [204],
    request: () => ({ payload: { refreshToken: 'rt_live_nobody' } })
  },
  'PUT /v1/auth/password': {
    permission: 'authenticated',
    ok: [403], // keys of the tenant itself act for nobody who could have a password
    request: () => ({ payload: { email: 'nobody@example.com', password: 'correct horse battery' } })
  },
  'GET /.well-known/jwks.json': open,
  'POST /v1/ws/ticket': { permission: 'authenticated', ok: [201] },
  'GET /v1/platform/operators': { permission: 'platform:operators', ok: [200] },
  'PUT /v1/platform/operators/:id': { permission: 'platform:operators', ok: [400, 404] },
  'DELETE /v1/keys/:id': {
    permission: 'keys:write',
    ok: [204],
    ...byId(modestKey, (who) => who.keyId)
  }
}

// One whose scopes every asker has: nobody shows or ends what can do more than they can.
async function modestKey({ db, auth }: World, { tenantId }: Citizen): Promise<string> {
  return (await db.tenant(tenantId, (tx) => auth.createKey(tx, { name: 'modest', scopes: ['keys:write'] }))).row.id
}
