import t from 'tap'
import { Cried, serve } from '#core/ws/test/support.ts'
import { until } from '#test/support/until.ts'

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

t.test('subscribe answers where it begins, then sends history and what follows', async (t) => {
  const { enter, emit, makeTenant, app } = await serve(t)
  const { key, tenantId } = await makeTenant()
  await emit(tenantId, 5)
  await until(async () => (await app.bus.head(tenantId)).last === 5n, 'history')
  const client = await enter(key)
  const { result } = await client.request('subscribe', { topics: ['bell:b'], after: 2 })
  t.match(result, { subscription: String, from: 2, to: 5 })
  await emit(tenantId, 2)
  await until(() => client.events.length === 5, 'all events')
  t.strictSame(
    client.events.map((event) => event.seq),
    [3, 4, 5, 6, 7]
  )
  const at = client.frames.findIndex((frame) => frame.result?.subscription)
  t.ok(
    client.frames.slice(0, at).every((frame) => !frame.event),
    'no event before the answer'
  )
  t.match(client.events[0], {
    event: 'bell.rang',
    seq: 3,
    tenantId,
    subject: 'bell:b',
    at: /Z$/,
    data: { n: 3 },
    subscription: result.subscription
  })

  t.match(await client.request('unsubscribe', { subscription: result.subscription }), { result: {} })
  t.match(await client.request('unsubscribe', { subscription: result.subscription }), {
    error: { code: 'WS_SUBSCRIPTION_UNKNOWN', status: 404 }
  })
  const next = await client.request('subscribe', { topics: ['bell.rang'] })
  t.match(next.result, { from: 7, to: 7 })
  await emit(tenantId, 1)
  await until(() => client.events.length === 6, 'the event after')
  t.equal(client.events[5].subscription, next.result.subscription, 'once, for the subscription that is open')
})

t.test('topics that are none, too many, or an after that is no seq are refused', async (t) => {
  const { enter, makeTenant } = await serve(t)
  const client = await enter((await makeTenant()).key)
  t.match(await client.request('subscribe', { topics: ['bell'] }), {
    error: { code: 'BUS_TOPIC_INVALID', status: 400 }
  })
  for (const params of [
    {},
    { topics: [] },
    { topics: Array(101).fill('*') },
    { topics: ['*'], after: -1 },
    { topics: ['*'], after: '1' },
    { topics: ['bell:\0'] }
  ])
    t.match(await client.request('subscribe', params), { error: { code: 'REQUEST_INVALID' } })
  for (const _ of upTo(100)) client.request('subscribe', { topics: ['a:b'] }).catch(() => {})
  await until(() => client.frames.length === 108, 'a hundred subscriptions')
  t.match(await client.request('subscribe', { topics: ['a:b'] }), {
    error: { code: 'WS_TOO_MANY_SUBSCRIPTIONS', status: 429 }
  })
})

t.test('with batch several events come as one frame', async (t) => {
  const { enter, emit, makeTenant } = await serve(t)
  const { key, tenantId } = await makeTenant()
  const client = await enter(key, { batch: true })
  await client.request('subscribe', { topics: ['*'], after: 0 })
  await emit(tenantId, 300)
  await until(() => client.events.length === 300, 'all events')
  t.strictSame(
    client.events.map((event) => event.seq),
    upTo(300)
  )
  t.ok(client.frames.length < 20, `${client.frames.length} frames`)
})

t.test('nobody hears another tenant, whatever he asks for', async (t) => {
  const { enter, emit, makeTenant } = await serve(t)
  const [a, b] = [await makeTenant(), await makeTenant()]
  const [alice, bob] = [await enter(a.key), await enter(b.key)]
  for (const client of [alice, bob])
    await client.request('subscribe', { topics: ['*', 'bell:b', 'bell.rang', 'bell.*'], after: 0 })
  await emit(a.tenantId, 3)
  await until(() => alice.events.length === 3, 'the own events')
  await emit(b.tenantId, 1)
  await until(() => bob.events.length === 1, 'the own event')
  t.equal(bob.events[0].tenantId, b.tenantId)
  t.ok(alice.events.every((event) => event.tenantId === a.tenantId))
})

t.test('platform events come to who names them, with a seq of their own', async (t) => {
  const { enter, makeTenant, app, db, emit } = await serve(t)
  const [a, b] = [await makeTenant(), await makeTenant()]
  const [named, family, mixed] = [await enter(a.key), await enter(a.key), await enter(a.key)]
  const cry = (n: number) => db.tenant(b.tenantId, (tx) => app.bus.emit(tx, Cried, 'c', { n }))
  await cry(1)
  await until(async () => (await app.bus.head(a.tenantId, 'platform')).last === 1n, 'the first cry')
  await emit(a.tenantId, 2)
  await until(async () => (await app.bus.head(a.tenantId)).last === 2n, 'own events')
  t.match((await named.request('subscribe', { topics: ['crier.cried'], after: 0 })).result, { from: 0, to: 1 })
  await family.request('subscribe', { topics: ['crier.*', '*'], after: 0 })
  t.match((await mixed.request('subscribe', { topics: ['bell.*', 'crier.cried'], after: 1 })).result, {
    from: 1,
    to: 2
  })
  await cry(2)
  await until(() => mixed.events.length === 2 && named.events.length === 2 && family.events.length === 2, 'all events')
  t.match(named.events, [
    { event: 'crier.cried', seq: 1, tenantId: null, stream: 'platform', subject: 'crier:c' },
    { event: 'crier.cried', seq: 2 }
  ])
  // two streams: each in its own order
  t.match(
    mixed.events.find((event) => event.stream === undefined),
    { event: 'bell.rang', seq: 2 }
  )
  t.match(
    mixed.events.find((event) => event.stream === 'platform'),
    { event: 'crier.cried', seq: 2 },
    'from now on'
  )
  t.strictSame(
    family.events.map((event) => event.event),
    ['bell.rang', 'bell.rang']
  )
})

t.test('when history no longer reaches back the client is told where it begins', async (t) => {
  const { enter, emit, makeTenant, app, sql } = await serve(t)
  const { key, tenantId } = await makeTenant()
  await emit(tenantId, 10)
  await until(async () => (await app.bus.head(tenantId)).last === 10n, 'history')
  await sql`update core.event set at = at - interval '1 day' where seq <= 6`
  await app.bus.retain(3_600_000)
  const client = await enter(key)
  const { result } = await client.request('subscribe', { topics: ['*'], after: 3 })
  await until(() => client.events.length === 5, 'resync and four events')
  t.strictSame(client.events[0], { event: 'resync', subscription: result.subscription, oldest: 7 })
  t.strictSame(
    client.events.slice(1).map((event) => event.seq),
    [7, 8, 9, 10]
  )
})

t.test('a client that stops reading is closed with 4008 and holds little memory; others do not notice', async (t) => {
  const { enter, emit, makeTenant, app } = await serve(t, { limits: { stalledMs: 300 } })
  const { key, tenantId } = await makeTenant()
  const [slow, fast] = [await enter(key), await enter(key)]
  for (const client of [slow, fast]) await client.request('subscribe', { topics: ['*'], after: 0 })
  slow.socket.pause()
  const pad = 'x'.repeat(8000)
  for (const _ of upTo(10)) await emit(tenantId, 200, pad) // 16 MB: more than the kernel's buffers take
  await until(() => fast.events.length === 2000, 'the fast one has everything')
  await until(() => app.ws.size === 1, 'the slow one is out')
  slow.socket.resume()
  t.match(await slow.closed, { code: 4008 })
  t.ok(slow.events.length < 2000)
  t.strictSame(
    slow.events.map((event) => event.seq),
    upTo(slow.events.length),
    'what it got has no hole: it can resume'
  )
})

t.test('a client that reads slowly but reads gets everything', async (t) => {
  const { enter, emit, makeTenant } = await serve(t, { limits: { highBytes: 64 * 1024 } })
  const { key, tenantId } = await makeTenant()
  const client = await enter(key)
  await client.request('subscribe', { topics: ['*'], after: 0 })
  const pad = 'x'.repeat(8000)
  client.socket.pause()
  for (const _ of upTo(5)) await emit(tenantId, 200, pad)
  client.socket.resume()
  await until(() => client.events.length === 1000, 'everything')
  t.strictSame(
    client.events.map((event) => event.seq),
    upTo(1000)
  )
})
