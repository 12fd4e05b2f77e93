import t from 'tap'
import { lockStreams, numberEvents, waitingStreams } from '#core/bus/store/relay.ts'
import { Announced, collect, otherHost, Ticked, Tocked, testBus, upTo } from '#core/bus/test/support.ts'
import { PLATFORM_STREAM } from '#core/bus/types.ts'
import { pending } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { until } from '#test/support/until.ts'

t.test('an event leaves by its hint alone, with the seq after its stream’s last', async (t) => {
  const { bus, db } = await testBus(t, { pollMs: 3_600_000 })
  await bus.start()
  const A = newId()
  const sink = collect()
  bus.follow(A, { topics: ['*'], after: 0n }, sink)
  await db.tenant(A, (tx) => bus.emit(tx, Ticked, 'p1', { n: 1 }))
  await until(() => sink.events.length === 1, 'the first event')
  await db.tenant(A, (tx) => bus.emitAll(tx, [pending(Tocked, 'p2', { n: 2 }), pending(Ticked, 'p1', { n: 3 })]))
  await until(() => sink.events.length === 3, 'the others')
  t.match(sink.events, [
    { seq: 1n, tenantId: A, stream: 'tenant', type: 'probe.ticked', subject: 'probe:p1', data: { n: 1 } },
    { seq: 2n, type: 'probe.tocked', subject: 'probe:p2', data: { n: 2 } },
    { seq: 3n, data: { n: 3 } }
  ])
  t.strictSame(await bus.head(A), { last: 3n, oldest: 1n })
})

t.test('a rolled back event is never seen and leaves no hole', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const A = newId()
  await t.rejects(
    db.tenant(A, async (tx) => {
      await bus.emit(tx, Ticked, 'p', { n: 1 })
      throw new Error('no')
    })
  )
  await db.tenant(A, (tx) => bus.emit(tx, Ticked, 'p', { n: 2 }))
  await until(async () => (await bus.head(A)).last === 1n, 'the second event')
  t.match(await bus.history(A, { after: 0n, limit: 10 }), [{ seq: 1n, data: { n: 2 } }])
})

t.test('seq has no gap and no double with two hosts writing and relaying one tenant', async (t) => {
  const test = await testBus(t)
  const other = await otherHost(t, test)
  const A = newId()
  await Promise.all([test.bus.start(), other.bus.start()])
  const writers = [test, other].flatMap((host, h) =>
    upTo(8).map(async (w) => {
      for (const i of upTo(25))
        await host.db.tenant(A, (tx) =>
          host.bus.emitAll(tx, [
            pending(Ticked, `${h}.${w}`, { n: 2 * i - 1 }),
            pending(Ticked, `${h}.${w}`, { n: 2 * i })
          ])
        )
    })
  )
  await Promise.all(writers)
  await until(async () => (await test.bus.head(A)).last === 800n, 'all events')
  const events = await test.bus.history(A, { after: 0n, limit: 1000 })
  t.strictSame(
    events.map((event) => Number(event.seq)),
    upTo(800)
  )
  // a writer's next transaction began after its last one was committed: cause before effect
  const perWriter = Map.groupBy(events, (event) => event.subject)
  t.equal(perWriter.size, 16)
  for (const [writer, own] of perWriter)
    t.strictSame(
      own.map((event) => event.data.n),
      upTo(50),
      writer
    )
})

t.test('what a host committed and could not hint is found by looking', async (t) => {
  const { bus, db } = await testBus(t, { pollMs: 20 })
  const [A, B] = [newId(), newId()]
  for (const tenant of [A, B]) await db.tenant(tenant, (tx) => bus.emit(tx, Ticked, 'p', { n: 1 })) // not started: no relay
  await bus.start()
  for (const tenant of [A, B]) await until(async () => (await bus.head(tenant)).last === 1n, 'the lost event')
  t.match(await bus.history(B, { after: 0n, limit: 9 }), [{ seq: 1n, data: { n: 1 } }])
})

t.test('while one relay holds a stream another passes it by', async (t) => {
  const { bus, db, sql } = await testBus(t)
  const A = newId()
  await sql`insert into core.stream (stream_id) values (${A})`
  await db.tenant(A, (tx) => bus.emit(tx, Ticked, 'p', { n: 1 }))
  await db.system(async (first) => {
    t.equal((await lockStreams(first, [A])).length, 1)
    await db.system(async (second) => t.equal((await lockStreams(second, [A])).length, 0))
  })
})

t.test('a tenant writes only into its own stream and never a seq', async (t) => {
  const { bus, db, sql } = await testBus(t)
  const [A, B] = [newId(), newId()]
  const write = (columns: object) =>
    db.tenant(
      A,
      (tx) => tx`insert into core.event ${tx({ id: newId(), type: 'a.b', subject: 'a:b', data: {}, ...columns })}`
    )
  await t.rejects(write({ tenant_id: B }), { code: '42501' })
  await t.rejects(write({ seq: 1 }), { code: '42501' })
  await t.rejects(write({ stream_id: B }), { code: '428C9' }, 'generated')
  await t.rejects(
    db.tenant(A, (tx) => bus.emitAll(tx, [pending(Ticked, 'p', { n: 1 }, B)])),
    { code: '42501' }
  )
  await t.rejects(
    db.tenant(A, (tx) => tx`select * from core.stream`),
    { code: '42501' }
  )
  await t.rejects(
    db.tenant(A, (tx) => tx`update core.event set seq = 1`),
    { code: '42501' }
  )
  t.equal((await sql`select from core.event`).length, 0)
})

t.test('a tenant reads its own history only, by topic', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const [A, B] = [newId(), newId()]
  for (const [tenant, n] of [
    [A, 1],
    [B, 2]
  ] as const)
    await db.tenant(tenant, (tx) => bus.emitAll(tx, [pending(Ticked, 'x', { n }), pending(Tocked, 'y', { n })]))
  for (const tenant of [A, B]) await until(async () => (await bus.head(tenant)).last === 2n, 'both streams')
  const read = async (topics: string[], after = 0n) =>
    (await bus.history(A, { after, limit: 10, topics })).map((event) => `${event.type} ${event.data.n}`)
  t.strictSame(await read(['*']), ['probe.ticked 1', 'probe.tocked 1'])
  t.strictSame(await read(['*'], 1n), ['probe.tocked 1'])
  t.strictSame(await read(['probe:y']), ['probe.tocked 1'])
  t.strictSame(await read(['probe.ticked']), ['probe.ticked 1'])
  t.strictSame(await read(['probe:x', 'probe.tocked']), ['probe.ticked 1', 'probe.tocked 1'])
  t.strictSame(await read(['other.*']), [])
  await t.rejects(read(['no topic']), { code: 'BUS_TOPIC_INVALID' })
})

t.test('platform events share one stream and do not show who published', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const [A, B] = [newId(), newId()]
  await db.tenant(A, (tx) => bus.emitAll(tx, [pending(Announced, '1', { text: 'a' }), pending(Ticked, 'p', { n: 1 })]))
  await until(async () => (await bus.head(A, 'platform')).last === 1n, 'the first announcement')
  await db.tenant(B, (tx) => bus.emit(tx, Announced, '2', { text: 'b' }))
  await until(async () => (await bus.head(A, 'platform')).last === 2n, 'the second one')
  t.match(await bus.history(B, { after: 0n, limit: 10, stream: 'platform' }), [
    { seq: 1n, tenantId: null, stream: 'platform', data: { text: 'a' } },
    { seq: 2n, tenantId: null, data: { text: 'b' } }
  ])
  t.match(await bus.history(A, { after: 0n, limit: 10 }), [{ seq: 1n, type: 'probe.ticked' }])
  t.strictSame(await bus.history(B, { after: 0n, limit: 10 }), [])
})

t.test('the system emits into the stream of the tenant that it names', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const A = newId()
  await db.system((tx) => bus.emitAll(tx, [pending(Ticked, 'p', { n: 1 }, A)]))
  await until(async () => (await bus.head(A)).last === 1n, 'the event')
  await t.rejects(
    db.system((tx) => bus.emitAll(tx, [pending(Ticked, 'p', { n: 1 })])),
    { code: '42501' }
  )
})

t.test('with 200,000 published events of 3,000 tenants no statement of the relay scans a table', async (t) => {
  const { bus, db, sql } = await testBus(t)
  await sql`insert into core.stream (stream_id, last_seq) select core.uuidv7(), 67 from generate_series(1, 3000)`
  await sql`insert into core.event (tenant_id, id, type, subject, data, seq)
    select s.stream_id, gen_random_uuid(), 'probe.ticked', 'probe:' || n, '{"n":1}', n
    from core.stream s, generate_series(1, 67) n where s.stream_id <> ${PLATFORM_STREAM}`
  await sql`vacuum analyze core.event, core.stream`
  const tenants = (
    await sql<{ id: string }[]>`select stream_id as id from core.stream where last_seq > 0 limit 64`
  ).map((r) => r.id)
  for (const tenant of tenants) await db.tenant(tenant, (tx) => bus.emit(tx, Ticked, 'new', { n: 1 }))

  const explain = 'explain (format json) '
  await db.system(async (tx) => {
    const locked = await lockStreams(tx, tenants)
    const one = [must(locked[0], 'a locked stream')]
    t.equal(locked.length, 64)
    const plans = {
      'lock one': await lockStreams(tx, tenants.slice(0, 1), explain),
      'lock many': await lockStreams(tx, tenants, explain),
      'number one': await numberEvents(tx, one, 2000, explain),
      'number many': await numberEvents(tx, locked, 31, explain),
      'look for waiting': await waitingStreams(tx, 1024, explain)
    }
    for (const [name, plan] of Object.entries(plans)) {
      const nodes = JSON.stringify(plan).matchAll(
        /"Node Type":"([^"]+)"(?:(?!"Node Type").)*?"Relation Name":"([^"]+)"/g
      )
      const used = [...nodes].map(([, node, relation]) => `${node} of ${relation}`)
      t.ok(
        used.some((use) => use.endsWith('of event') || use.endsWith('of stream')),
        `${name}: the plan names its tables`
      )
      // consumer_kind has a row per kind of consumer: a few dozen
      t.strictSame(
        used.filter((use) => use.startsWith('Seq Scan') && !use.endsWith('consumer_kind')),
        [],
        name
      )
    }
    t.equal((await numberEvents(tx, locked, 31)).length, 64)
  })
})
