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

/** By route. */
export const scenes: Readonly<Record<string, (world: World, who: Citizen) => Promise<Scene>>> = {
  'POST /v1/sessions/:id/run': session('CREATED'),
  'POST /v1/sessions/:id/pause': session('RUNNING'),
  'POST /v1/sessions/:id/resume': session('PAUSED'),
  'POST /v1/sessions/:id/cancel': session('CREATED'),
  'POST /v1/skills': async (world, who) => {
    await world.sql`delete from registry.install where tenant_id = ${who.tenantId}`
    return { payload: { ref: `@${who.scope}/tool@^1` } }
  },
  'PUT /v1/platform/operators/:id': async (world) => {
    const id = crypto.randomUUID()
    await world.sql`insert into core.member (tenant_id, user_id, role) values (${TENANT_ZERO}, ${id}, 'member')`
    return { params: { id }, payload: { permissions: ['platform:doctor'] } }
  }
}

/** Mutating routes without a row in the log, and why. */
export const unaudited: Readonly<Record<string, string>> = {
  'POST /v1/ws/ticket': 'a ticket is good for one connection within 30 s and gives nothing that its asker has not',
  'POST /v1/auth/token': 'signing in is of no tenant: a user may be in many',
  'POST /v1/auth/logout': 'as signing in',
  'PUT /v1/auth/password': 'a user and his password are of no tenant'
}
