import { createHash } from 'node:crypto'
import t from 'tap'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { createAuth } from '#core/auth/auth.ts'
import { bearer, identityProvider, join, keyOf } from '#core/auth/test/support.ts'
import { createUser } from '#core/auth/users.ts'
import { newId } from '#core/ids.ts'
import type { Gateway } from '#core/ws/gateway.ts'
import { serve } from '#core/ws/test/support.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'

type Served = Awaited<ReturnType<typeof serve>>

async function ticketFor(world: Served, headers: object): Promise<{ ticket: string; expiresAt: string }> {
  const answer = await world.app.inject({ method: 'POST', url: '/v1/ws/ticket', headers: { ...headers } })
  if (answer.statusCode !== 201) throw new Error(answer.body)
  return answer.json()
}

const hello = (token: string, more: object = {}) => ({ protocol: 1, token, ...more })

t.test('a ticket lets one connection in, once, and within 30 s', async (t) => {
  const world = await serve(t)
  const { connect, makeTenant, sql, lines } = world
  const { headers, tenantId } = await makeTenant()
  const { ticket, expiresAt } = await ticketFor(world, headers)
  const left = Date.parse(expiresAt) - Date.now()
  t.ok(left > 25_000 && left < 35_000, `${left} ms`)
  const stored = await sql`select w::text as row from core.ws_ticket w`
  t.equal(stored.length, 1)
  t.notOk(JSON.stringify(stored).includes(ticket), 'kept as a hash')

  const answers = await Promise.all([1, 2, 3].map(() => connect().request('hello', hello(ticket))))
  t.equal(answers.filter(({ result }) => result?.tenantId === tenantId).length, 1, 'of three at once one comes in')
  const refused = answers.filter(({ error }) => error)
  for (const { error } of refused) t.match(error, { code: 'AUTH_REQUIRED', status: 401 })

  const late = await ticketFor(world, headers)
  await sql`update core.ws_ticket set expires_at = now()`
  t.match(await connect().request('hello', hello(late.ticket)), { error: { code: 'AUTH_REQUIRED' } })
  const http = await ticketFor(world, headers)
  const whoami = await world.app.inject({ url: '/v1/whoami', headers: bearer(http.ticket) })
  t.equal(whoami.statusCode, 401, 'and is nothing on HTTP')
  t.notOk(lines.join('').includes(ticket), 'no log line holds it')
})

t.test('a ticket works on another host, for its own tenant only', async (t) => {
  const world = await serve(t)
  const { makeTenant, db, clock, log, secrets } = world
  const [a, b] = [await makeTenant(), await makeTenant()]
  const other = createAuth({ db, clock, log, pepper: secrets.apiKeyPepper, userTokenKey: secrets.userTokenKey })
  t.teardown(() => other.settle())
  const enter = async (ticket: string, tenant?: string) =>
    (await other.prove(ticket, { ticket: true, ...(tenant === undefined ? {} : { tenant }) })).identity
  t.match(await enter((await ticketFor(world, a.headers)).ticket), { tenantId: a.tenantId })
  t.match(await enter((await ticketFor(world, a.headers)).ticket, a.slug), { tenantId: a.tenantId })
  const { ticket } = await ticketFor(world, a.headers)
  await t.rejects(enter(ticket, b.tenantId), { code: 'AUTH_TENANT_MISMATCH' })
})

t.test(
  'a key that is bound to addresses is held to them where its ticket is made, not where the page is',
  async (t) => {
    const world = await serve(t, { renewMs: 50, renewalAgeMs: 40 })
    const { app, connect, makeTenant, sql } = world
    const { headers, tenantId } = await makeTenant()
    const payload = { name: 'site', scopes: ['events:read'], allowedIps: ['203.0.113.0/24'] }
    const { id, key } = (await app.inject({ method: 'POST', url: '/v1/keys', headers, payload })).json()
    const ask = (remoteAddress: string) =>
      app.inject({ method: 'POST', url: '/v1/ws/ticket', headers: bearer(key), remoteAddress })
    t.match((await ask('203.0.114.9')).json(), { code: 'AUTH_ADDRESS_REFUSED' })
    const page = connect()
    const { ticket } = (await ask('203.0.113.9')).json()
    t.match(await page.request('hello', hello(ticket)), { result: { tenantId } })
    t.match(await connect().request('hello', hello(key)), { error: { code: 'AUTH_ADDRESS_REFUSED' } })
    await sql`update core.api_key set allowed_ips = '{198.51.100.0/24}' where id = ${id}`
    t.match(await page.closed, { code: 4401 }, 'and goes on being held to them')
  }
)

t.test('a row that somebody else wrote is no ticket', async (t) => {
  const world = await serve(t)
  const { connect, makeTenant, db, app, sql } = world
  const [a, b] = [await makeTenant(), await makeTenant()]
  const victim = newId() // of an identity provider: no login of ours speaks against the credential
  await join(world, b.tenantId, victim, 'owner')
  const credential = { kind: 'user', userId: victim, expiresAt: 4e12, tenant: b.tenantId }
  const ticket = `wt_live_${'x'.repeat(43)}`
  const hash = createHash('sha256').update(ticket).digest()
  for (const text of [JSON.stringify(credential), `seal ${JSON.stringify(credential)}`]) {
    await db.tenant(a.tenantId, (tx) => tx`insert into core.ws_ticket (hash, credential) values (${hash}, ${text})`)
    t.match(await connect().request('hello', hello(ticket)), { error: { code: 'AUTH_REQUIRED' } })
    await sql`delete from core.ws_ticket`
  }
  // The seal of a true one, under another credential, another token or another time.
  const own = await app.inject({ method: 'POST', url: '/v1/ws/ticket', headers: a.headers })
  const [row] = await sql<{ credential: string }[]>`select credential from core.ws_ticket`
  const [mark] = (row?.credential ?? '').split(' ')
  await sql`update core.ws_ticket set credential = ${`${mark} ${JSON.stringify(credential)}`}`
  t.match(await connect().request('hello', hello(own.json().ticket)), { error: { code: 'AUTH_REQUIRED' } })
  await sql`delete from core.ws_ticket`
  await sql`insert into core.ws_ticket (tenant_id, hash, credential) values (${a.tenantId}, ${hash}, ${row?.credential ?? ''})`
  t.match(await connect().request('hello', hello(ticket)), { error: { code: 'AUTH_REQUIRED' } })
  const late = await app.inject({ method: 'POST', url: '/v1/ws/ticket', headers: a.headers })
  await sql`update core.ws_ticket set expires_at = now() + interval '10 years'`
  t.match(await connect().request('hello', hello(late.json().ticket)), { error: { code: 'AUTH_REQUIRED' } })
})

t.test("a user's ticket is bound to the tenant that it was made in", async (t) => {
  const idp = await identityProvider(t)
  const world = await serve(t, {}, undefined, { auth: { issuer: idp.issuer } })
  const { connect, makeTenant } = world
  const [a, b] = [await makeTenant(), await makeTenant()]
  const sub = newId()
  await join(world, a.tenantId, sub, 'member')
  await join(world, b.tenantId, sub, 'member')
  const headers = { ...bearer(await idp.token({ sub })), 'agentos-tenant': b.slug }
  const { ticket } = await ticketFor(world, headers)
  t.match(await connect().request('hello', hello(ticket)), { result: { tenantId: b.tenantId } })
  const wrong = connect()
  t.match(await wrong.request('hello', hello((await ticketFor(world, headers)).ticket, { tenant: a.slug })), {
    error: { code: 'AUTH_TENANT_MISMATCH' }
  })
  t.match(await wrong.closed, { code: 4403 })
  const open = connect()
  t.match(await open.request('hello', hello(await idp.token({ sub }))), { error: { code: 'AUTH_TENANT_REQUIRED' } })
  t.match(await open.closed, { code: 4400 })
})

t.test('whatever stands in the query string is refused and not logged', async (t) => {
  const { url, makeTenant, lines } = await serve(t)
  const { key } = await makeTenant()
  for (const query of [`?token=${key}`, `?${key}`, '?ticket=wt_live_x', '?x']) {
    const socket = new WebSocket(`${url}${query}`)
    const code = await new Promise((resolve) => socket.on('close', resolve))
    t.equal(code, 4401, query.slice(0, 8))
  }
  t.equal(lines.filter((line) => line.includes('came with a query string')).length, 4)
  t.notOk(lines.join('').includes(key.split('_')[3] ?? key))
})

t.test('each kind of credential ends its connection when it is over, within 5 s by the cadence alone', async (t) => {
  const idp = await identityProvider(t)
  // 20 times as fast as in production, caches included: nothing is told to this host.
  const world = await serve(t, { renewMs: 100, renewalAgeMs: 80 }, undefined, { auth: { issuer: idp.issuer } })
  const { connect, makeTenant, sql, db } = world
  const enter = async (token: string, tenant: string) => {
    const client = connect()
    const answer = await client.request('hello', hello(token, { tenant }))
    if (!answer.result) throw new Error(JSON.stringify(answer))
    return client
  }
  const { tenantId } = await makeTenant()
  const [member, user] = [newId(), newId()]
  await join(world, tenantId, member, 'member')
  await join(world, tenantId, user, 'member')
  const { id } = await db.system((tx) =>
    createUser(tx, { email: 'a@example.com', password: cheapHash('correct horse battery') })
  )
  await join(world, tenantId, id, 'viewer')
  const { accessToken } = await world.auth.logins.logIn('a@example.com', 'correct horse battery', '127.0.0.1')

  const keyed = await enter((await keyOf(world, tenantId, member, ['*'])).key, tenantId)
  const foreign = await enter(await idp.token({ sub: user }), tenantId)
  const own = await enter(accessToken.reveal(), tenantId)
  const ticketed = await enter((await ticketFor(world, bearer(accessToken.reveal()))).ticket, tenantId)
  const short = await enter(await idp.token({ sub: user, exp: Math.floor(Date.now() / 1000) + 1 }), tenantId)
  t.match(await short.closed, { code: 4401 }, 'a token that ran out')
  t.match(await ticketed.request('ping'), { result: {} })

  await sql`delete from core.member where user_id in ${sql([member, user])}`
  t.match(await keyed.closed, { code: 4401 }, 'a key whose member is gone')
  t.match(await foreign.closed, { code: 4401 }, 'a member who is gone')
  await sql`update core.login set ended_at = now(), ended_by = 'logout'`
  t.match(await own.closed, { code: 4401 }, 'a login that was ended')
  t.match(await ticketed.closed, { code: 4401 }, 'and what came by its ticket')
})

t.test('a transaction of a method is put down to who called it, with address and request', async (t) => {
  const idp = await identityProvider(t)
  const addMethod = (gateway: Gateway) =>
    gateway.method('whose.transaction', {
      permission: 'sessions:read',
      params: z.strictObject({}),
      async run({ tenant, requestId }) {
        const [row] = await tenant((tx) => tx`select current_setting('request.jwt.claims')::json -> 'actor' as actor`)
        return { requestId, actor: row?.actor }
      }
    })
  const world = await serve(t, {}, addMethod, { auth: { issuer: idp.issuer } })
  const { tenantId, key } = await world.makeTenant()
  const user = newId()
  await join(world, tenantId, user, 'viewer')
  for (const [token, actor] of [
    [await idp.token({ sub: user }), { kind: 'user', id: user }],
    [key, { kind: 'key' }]
  ] as const) {
    const { result } = await (await world.enter(token)).request('whose.transaction')
    t.match(result.actor, { ...actor, from: '127.0.0.1', requestId: result.requestId })
  }
})

t.test('a suspended tenant loses its connections with 4403 and gets no new one', async (t) => {
  const { enter, connect, makeTenant, sql, auth } = await serve(t, { renewMs: 50, renewalAgeMs: 40 })
  const { key, tenantId } = await makeTenant()
  const client = await enter(key)
  await sql`
    update core.tenants set suspended_at = now(), suspended_by = 'platform', suspended_reason = 'unpaid'
    where tenant_id = ${tenantId}`
  t.match(await client.closed, { code: 4403 })
  auth.forgetTenant(tenantId)
  const again = connect()
  t.match(await again.request('hello', hello(key)), { error: { code: 'TENANT_SUSPENDED', status: 403 } })
  t.match(await again.closed, { code: 4403 })
})
