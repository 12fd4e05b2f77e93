import t from 'tap'
import { serve } from '#core/ws/test/support.ts'
import { until } from '#test/support/until.ts'

t.test('hello with a key opens the connection; the Authorization header of the upgrade does as well', async (t) => {
  const { connect, makeTenant } = await serve(t)
  const { key, tenantId, slug } = await makeTenant()
  t.match(await connect().request('hello', { protocol: 1, token: key, tenant: slug }), {
    id: '1',
    result: { protocol: 1, tenantId, connection: String, methods: ['hello', 'ping', 'subscribe', 'unsubscribe'] }
  })
  const client = connect({ headers: { authorization: `Bearer ${key}` } })
  t.match(await client.request('hello', { protocol: 1 }), { result: { tenantId } })
  t.match(await client.request('ping'), { id: '2', result: { at: /^\d{4}-.*Z$/ } })
  t.match(await client.request('hello', { protocol: 1 }), { error: { code: 'WS_HELLO_TWICE', status: 409 } })
  t.match(await client.request('ping'), { result: {} }, 'and goes on')
})

t.test('who says no hello in time is closed with 4408', async (t) => {
  const { connect } = await serve(t, { limits: { helloMs: 50 } })
  t.match(await connect().closed, { code: 4408 })
})

t.test('a wrong hello is answered, then closed with its code', async (t) => {
  const { connect, makeTenant } = await serve(t)
  const { key } = await makeTenant()
  const cases: [object, number, object][] = [
    [{ protocol: 2, token: key }, 4400, { code: 'WS_PROTOCOL_UNSUPPORTED', status: 400, details: { supported: [1] } }],
    [
      { protocol: 1, token: key, colour: 'red' },
      4400,
      { code: 'REQUEST_INVALID', details: { errors: [{ pointer: '/params/colour' }] } }
    ],
    [{ protocol: 1 }, 4401, { code: 'AUTH_REQUIRED', status: 401 }],
    [{ protocol: 1, token: 'ak_live_nonsense' }, 4401, { code: 'AUTH_REQUIRED' }],
    [{ protocol: 1, token: key, tenant: 'somebody-else' }, 4403, { code: 'AUTH_TENANT_MISMATCH', status: 403 }]
  ]
  for (const [params, code, error] of cases) {
    const client = connect()
    t.match(await client.request('hello', params), { id: '1', error })
    t.match(await client.closed, { code })
  }
})

t.test('any other method before hello is refused with 4400; what is sent right behind hello is served', async (t) => {
  const { connect, makeTenant } = await serve(t)
  const { key } = await makeTenant()
  const early = connect()
  t.match(await early.request('ping'), { error: { code: 'WS_HELLO_REQUIRED' } })
  t.match(await early.closed, { code: 4400 })

  const eager = connect()
  await eager.send(JSON.stringify({ id: 'h', method: 'hello', params: { protocol: 1, token: key } }))
  await eager.send(JSON.stringify({ id: 'p', method: 'ping' }))
  await until(() => eager.frames.length === 2, 'both answers')
  t.match(eager.frames, [{ id: 'h' }, { id: 'p', result: {} }])
})

t.test('a page of another origin is closed with 4403; this host, the listed ones and programs come in', async (t) => {
  const { connect, port } = await serve(t, { allowedOrigins: ['https://app.example.com'], limits: { helloMs: 100 } })
  t.match(await connect({ origin: 'https://evil.example' }).closed, { code: 4403 })
  t.match(await connect({ origin: 'null' }).closed, { code: 4403 })
  t.match(await connect({ origin: `http://127.0.0.1:${port + 1}` }).closed, { code: 4403 })
  for (const origin of ['https://app.example.com', `http://127.0.0.1:${port}`, undefined]) {
    t.match(await connect(origin === undefined ? {} : { origin }).closed, { code: 4408 }, `${origin} waits for hello`)
  }
})

t.test('a plain GET is told to upgrade', async (t) => {
  const { app } = await serve(t)
  const response = await app.inject('/v1/ws')
  t.equal(response.statusCode, 426)
  t.match(response.json(), { code: 'WS_UPGRADE_REQUIRED' })
})

t.test('a tenant has so many connections and no more', async (t) => {
  const { connect, enter, makeTenant, app } = await serve(t, { connectionsPerTenant: 2 })
  const [a, b] = [await makeTenant(), await makeTenant()]
  const first = await enter(a.key)
  await enter(a.key)
  const third = connect()
  t.match(await third.request('hello', { protocol: 1, token: a.key }), {
    error: { code: 'WS_TOO_MANY_CONNECTIONS', status: 429, retryAfterMs: 10_000, details: { limit: 2 } }
  })
  t.match(await third.closed, { code: 4429 })
  await enter(b.key)
  first.socket.close()
  await first.closed
  await until(() => app.ws.size === 2, 'the place is free')
  await enter(a.key)
})

t.test('a revoked key ends its connections with 4401, a request with it is refused', async (t) => {
  const { enter, makeTenant, sql, auth, app } = await serve(t, { renewMs: 20 })
  const { key, tenantId } = await makeTenant()
  const client = await enter(key)
  await client.request('subscribe', { topics: ['*'] })
  await sql`update core.api_key set revoked_at = now() where tenant_id = ${tenantId}`
  for (const { prefix } of await sql<{ prefix: string }[]>`select prefix from core.api_key`) auth.forget(prefix)
  t.match(await client.closed, { code: 4401 })
  await until(() => app.ws.size === 0, 'nothing of it stays')
})

t.test('a key that may no longer read events ends with its subscriptions', async (t) => {
  const { enter, makeTenant, sql, auth } = await serve(t, { renewMs: 20 })
  const { key, tenantId } = await makeTenant({ scopes: ['events:read', 'sessions:read'] })
  const [follower, caller] = [await enter(key), await enter(key)]
  await follower.request('subscribe', { topics: ['*'] })
  await sql`update core.api_key set scopes = '{sessions:read}' where tenant_id = ${tenantId}`
  for (const { prefix } of await sql<{ prefix: string }[]>`select prefix from core.api_key`) auth.forget(prefix)
  t.match(await follower.closed, { code: 4401 })
  t.match(await caller.request('ping'), { result: {} }, 'who follows nothing goes on')
})

t.test('going down closes everybody with 1012 and a time to come back', async (t) => {
  const { enter, makeTenant, app } = await serve(t)
  const { key } = await makeTenant()
  const clients = [await enter(key), await enter(key)]
  app.ws.close()
  for (const client of clients) {
    const { code, reason } = await client.closed
    t.equal(code, 1012)
    const { retryAfterMs } = JSON.parse(reason)
    t.ok(retryAfterMs >= 500 && retryAfterMs <= 5000)
  }
})

t.test('a client that answers no ping is dropped', async (t) => {
  const { connect, makeTenant, app } = await serve(t, { heartbeatMs: 40 })
  const { key } = await makeTenant()
  const client = connect({ autoPong: false })
  await client.request('hello', { protocol: 1, token: key })
  t.match(await client.closed, { code: 1006 })
  await until(() => app.ws.size === 0, 'the connection is gone')
})
