import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import type { Citizen, World } from '#test/tenancy/support/world.ts'

/** A request that goes through, where the row of the tenancy suite (support/rows) shows only refusals or no change. */
export interface Scene {
  params?: Readonly<Record<string, string>>
  headers?: Record<string, string>
  payload?: object | Buffer
  query?: string
}

/** A session whose row says what a command needs; nobody claims it. */
export async function sessionIn(world: World, who: Citizen, state: 'CREATED' | 'RUNNING' | 'PAUSED'): Promise<string> {
  const id = await world.session(who)
  if (state === 'PAUSED') await world.sql`update pulse.session set state = 'PAUSED' where id = ${id}`
  if (state === 'RUNNING') {
    await world.sql`
      update pulse.session set state = 'RUNNING', lease_owner = gen_random_uuid(), lease_until = 'infinity' where id = ${id}`
  }
  return id
}

const session = (state: Parameters<typeof sessionIn>[2]) => async (world: World, who: Citizen) => ({
  params: { id: await sessionIn(world, who, state) }
})

/** A tenant of its own for what would end the other one, after platform routes have been called about it. */
const elsewhere =
  (payload: object | undefined, ...before: [path: string, method: 'POST' | 'DELETE', payload: object][]) =>
  async (world: World, _who: Citizen, operator: Scene['headers']): Promise<Scene> => {
    const { tenantId: id } = await world.makeTenant()
    for (const [path, method, body] of before)
      await ask(world, method, `/v1/platform/tenants/${id}${path}`, body, operator)
    return { params: { id }, ...(payload === undefined ? {} : { payload }) }
  }

async function ask(world: World, method: 'POST' | 'DELETE', url: string, payload: object, headers: Scene['headers']) {
  const answer = await world.app.inject({ method, url, payload, headers: { ...headers } })
  if (answer.statusCode >= 300) throw new Error(`${url}: ${answer.statusCode} ${answer.body}`)
  return answer.json()
}

const suspend = ['/suspend', 'POST', { reason: 'unpaid' }] as const
const remove = ['', 'DELETE', {}] as const

/** By route. */
export const scenes: Readonly<
  Record<string, (world: World, who: Citizen, operator: Scene['headers']) => Promise<Scene>>
> = {
  'POST /v1/sessions/:id/run': session('CREATED'),
  'POST /v1/sessions/:id/pause': session('RUNNING'),
  'POST /v1/sessions/:id/resume': session('PAUSED'),
  'POST /v1/sessions/:id/cancel': session('CREATED'),
  'POST /v1/skills': async (world, who) => {
    await world.sql`delete from registry.install where tenant_id = ${who.tenantId}`
    return { payload: { ref: `@${who.scope}/tool@^1` } }
  },
  'POST /v1/platform/quarantines/:id/lift': async (world, who) => {
    const [row] = await world.sql<{ id: string }[]>`
      select id from tools.quarantine where tenant_id = ${who.tenantId} and lifted_at is null`
    return { params: { id: row?.id ?? '' }, payload: { reason: 'mended' } }
  },
  'PUT /v1/platform/operators/:id': async (world) => {
    const id = crypto.randomUUID()
    await world.sql`insert into core.member (tenant_id, user_id, role) values (${TENANT_ZERO}, ${id}, 'member')`
    return { params: { id }, payload: { permissions: ['platform:doctor'] } }
  },
  'PATCH /v1/members/:userId': async () => ({ payload: { role: 'member' } }),
  'POST /v1/invitations/accept': async (world, who) => {
    const wanted = { email: 'guest@example.com', role: 'viewer' }
    const { token } = await ask(world, 'POST', '/v1/invitations', wanted, who.headers)
    return { payload: { token, password: 'correct horse battery' } }
  },
  'DELETE /v1/tenant': async (world) => {
    const { headers, slug } = await world.makeTenant()
    return { headers, payload: { confirm: slug } }
  },
  'POST /v1/tenant/restore': async (world) => {
    const { headers, slug } = await world.makeTenant()
    await ask(world, 'DELETE', '/v1/tenant', { confirm: slug }, headers)
    return { headers }
  },
  'POST /v1/platform/tenants': async () => ({ payload: { name: 'New', slug: 'new-one', plan: 'pro' } }),
  'PATCH /v1/platform/tenants/:id': elsewhere({ plan: 'free' }),
  'DELETE /v1/platform/tenants/:id': elsewhere({}),
  'POST /v1/platform/tenants/:id/owner': async (world) => {
    const { tenantId: id } = await world.makeTenant({ scopes: ['keys:read'] }) // nobody there could name an owner
    return { params: { id }, payload: { email: 'owner@example.com' } }
  },
  'POST /v1/platform/tenants/:id/suspend': elsewhere({ reason: 'unpaid' }),
  'POST /v1/platform/tenants/:id/resume': elsewhere(undefined, [...suspend]),
  'POST /v1/platform/tenants/:id/restore': elsewhere(undefined, [...remove])
}

/** Mutating routes without a row in the log, and why. */
export const unaudited: Readonly<Record<string, string>> = {
  'POST /v1/ws/ticket': 'a ticket is good for one connection within 30 s and gives nothing that its asker has not',
  'POST /v1/auth/token': 'signing in is of no tenant: a user may be in many',
  'POST /v1/auth/logout': 'as signing in',
  'PUT /v1/auth/password': 'this caller acts for no member; core/auth/test/logins.test.ts looks at one who does'
}
