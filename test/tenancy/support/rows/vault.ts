import type { Citizen, World } from '../world.ts'
import type { RouteRow } from './row.ts'

const named = {
  own: async (world: World, who: Citizen) => ({ name: await world.putSecret(who) }),
  had: (who: Citizen) => ({ name: who.secretName }),
  absent: () => ({ name: 'SECRET_OF_NOBODY' })
}
const value = (who: Citizen) => ({ payload: { value: `${who.canary} another value` } })

export const vaultRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/secrets': { permission: 'secrets:read', ok: [200], list: true },
  'GET /v1/secrets/:name': { permission: 'secrets:read', ok: [200], ...named },
  'PUT /v1/secrets/:name': {
    permission: 'secrets:write',
    ok: [200],
    // A name that another tenant has as well is one's own: there is nothing foreign to reach.
    own: named.own,
    had: named.had,
    request: value,
    bodies: ({ tenantId }) => [['a tenant', { value: 'x', tenantId }, 400]]
  },
  'POST /v1/secrets/:name/rotate': { permission: 'secrets:write', ok: [200], ...named, request: value },
  'DELETE /v1/secrets/:name': { permission: 'secrets:write', ok: [204], ...named },
  'PUT /v1/secrets/:name/grants': {
    permission: 'secrets:write',
    ok: [200],
    ...named,
    request: () => ({ payload: { agent: 'courier' } })
  },
  'DELETE /v1/secrets/:name/grants': {
    permission: 'secrets:write',
    ok: [204],
    ...named,
    request: () => ({ query: '?agent=teller' })
  },
  'GET /v1/platform/vault/rotation': { permission: 'platform:vault', ok: [200] },
  'POST /v1/platform/vault/rotation': { permission: 'platform:vault', ok: [202] }
}
