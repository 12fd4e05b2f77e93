import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { Announced, collect, otherHost, Ticked, Tocked, testBus, upTo } from '#core/bus/test/support.ts'
import { memoryTransport } from '#core/bus/transport.ts'
import type { Opening } from '#core/bus/types.ts'
import { systemClock } from '#core/clock.ts'
import { pending, type StoredEvent } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { until } from '#test/support/until.ts'

t.test('whoever joins while two hosts write 2,000 events a second gets each event once, in order', async (t) => {
  const test = await testBus(t, { pollMs: 50 })
  const { bus, db } = test
  await bus.start()
  const A = newId()
  const child = fork(new URL('./writer.ts', import.meta.url), [test.appUrl, test.systemUrl, A, '1000'])
  const done = once(child, 'message')
  await until(async () => (await bus.head(A)).last > 100n, 'the other host writes')

  let writing = true
  const begun = systemClock.monotonic()
  let own = 0
  const writer = (async () => {
    while (writing) {
      const due = systemClock.monotonic() - begun // one a millisecond
      const batch = Array.from({ length: Math.min(50, Math.floor(due) - own) }, (_, i) =>
        pending(Tocked, 'own', { n: own + i + 1 })
      )
      own += batch.length
      if (batch.length > 0) await db.tenant(A, (tx) => bus.emitAll(tx, batch))
      else await systemClock.sleep(2)
    }
  })()

  const followers: { from: bigint; sink: ReturnType<typeof collect>; topics: string[] }[] = []
  for (const i of upTo(30)) {
    const topics = i % 3 === 0 ? ['probe.tocked'] : ['*']
    const last = (await bus.head(A)).last
    const after = [0n, last, last - 50n, undefined][i % 4]
    const sink = collect()
    const follower = { from: -1n, sink, topics }
    const opened = ({ from }: Opening) => {
      follower.from = from
    }
    bus.follow(A, { topics, ...(after === undefined ? {} : { after }) }, { push: sink.push, opened })
    followers.push(follower)
    const next = own + 50
    await until(() => own >= next, 'some more events')
  }
  writing = false
  child.send('stop')
  await writer
  const [{ written }] = await done
  await until(async () => (await bus.head(A)).last === BigInt(own + written), 'the last event')
  t.ok(written > 500 && own > 1000, `${written} and ${own} events`)

  const all = await bus.history(A, { after: 0n, limit: 100_000 })
  t.strictSame(
    all.map((event) => Number(event.seq)),
    upTo(own + written)
  )
  for (const [i, { from, sink, topics }] of followers.entries()) {
    const due = all.filter((event) => event.seq > from && (topics[0] === '*' || event.type === topics[0]))
    await until(() => sink.events.length >= due.length, `follower ${i} has everything`)
    t.strictSame(sink.events, due, `follower ${i} from ${from}`)
  }
})

t.test('a sink that is full is read for again from where it stopped, and others do not wait for it', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const A = newId()
  const [fast, slow] = [collect(), collect()]
  let room = 3
  bus.follow(A, { topics: ['*'], after: 0n }, fast)
  const subscription = bus.follow(
    A,
    { topics: ['*'], after: 0n },
    {
      push(events: StoredEvent[]) {
        const taken = slow.push(events.slice(0, room))
        room -= taken
        return taken
      }
    }
  )
  const emit = (n: number) =>
    db.tenant(A, (tx) =>
      bus.emitAll(
        tx,
        upTo(n).map((i) => pending(Ticked, 'p', { n: i }))
      )
    )
  await emit(10)
  await until(() => fast.events.length === 10, 'the fast one')
  await emit(500)
  await until(() => fast.events.length === 510, 'the fast one')
  t.strictSame(slow.seqs(), [1, 2, 3])
  room = 2
  subscription.resume()
  await until(() => slow.events.length === 5, 'two more')
  room = 1000
  subscription.resume()
  await until(() => slow.events.length === 510, 'the rest')
  t.strictSame(slow.seqs(), upTo(510))
  await emit(1)
  await until(() => slow.events.length === 511, 'live again')
})

t.test('a feed repairs what its transport loses, doubles and reorders', async (t) => {
  const inner = memoryTransport()
  let batch = 0
  const lossy = {
    ...inner,
    publish(streamId: string, events: StoredEvent[]) {
      batch++
      if (batch % 3 === 0) return
      inner.publish(streamId, events)
      if (batch % 3 === 1) inner.publish(streamId, events.slice(-2))
    }
  }
  const { bus, db } = await testBus(t, { transport: lossy, pollMs: 20 })
  await bus.start()
  const A = newId()
  const sink = collect()
  bus.follow(A, { topics: ['*'], after: 0n }, sink)
  for (const n of upTo(60)) await db.tenant(A, (tx) => bus.emit(tx, Ticked, 'p', { n }))
  await until(() => sink.events.length >= 60, 'all events')
  t.strictSame(sink.seqs(), upTo(60))
})

t.test('events of a host that shares only the database come within its poll', async (t) => {
  const test = await testBus(t, { pollMs: 20 })
  const other = await otherHost(t, test)
  await Promise.all([test.bus.start(), other.bus.start()])
  const A = newId()
  const sink = collect()
  test.bus.follow(A, { topics: ['probe.ticked'], after: 0n }, sink)
  await until(async () => {
    await other.db.tenant(A, (tx) => other.bus.emit(tx, Ticked, 'p', { n: 1 }))
    return sink.events.length > 3
  }, 'events of the other host')
  t.strictSame(sink.seqs(), upTo(sink.events.length))
})

t.test('what a host numbered and died before telling is delivered all the same', async (t) => {
  const { bus, sql, appUrl, systemUrl } = await testBus(t, { pollMs: 20 })
  await bus.start()
  const A = newId()
  const sink = collect()
  bus.follow(A, { topics: ['*'], after: 0n }, sink)
  const child = fork(new URL('./writer.ts', import.meta.url), [appUrl, systemUrl, A, '500', '10'])
  const [, signal] = await once(child, 'exit')
  t.equal(signal, 'SIGKILL')
  const [row] = await sql<{ written: number }[]>`select count(*)::int as written from core.event`
  // and what it had written and not numbered is numbered here
  await until(() => sink.events.length >= (row?.written ?? 0), 'everything')
  t.strictSame(sink.seqs(), upTo(row?.written ?? 0))
  t.ok(sink.events.length >= 10)
})

t.test('when the database cuts every connection, events go on without gap or double', async (t) => {
  const { bus, db, sql } = await testBus(t, { pollMs: 20 })
  await bus.start()
  const A = newId()
  const sink = collect()
  let open = false // a subscription that is cut while it begins fails, and its owner asks again
  const opened = () => {
    open = true
  }
  bus.follow(A, { topics: ['*'], after: 0n }, { push: sink.push, opened })
  await until(() => open, 'the beginning')
  let committed = 0
  for (const n of upTo(40)) {
    if (n % 10 === 0) {
      const cut = await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and usename in ('agentos_app', 'agentos_system')`
      t.ok(cut.length > 0, 'connections were cut')
    }
    // a transaction that was cut is the sender's to repeat
    await db
      .tenant(A, (tx) => bus.emit(tx, Ticked, 'p', { n }))
      .then(
        () => committed++,
        () => {}
      )
  }
  t.ok(committed > 30)
  const numbered = () => bus.head(A).then(({ last }) => last >= BigInt(committed))
  await until(() => numbered().catch(() => false), 'all numbered') // the last cut may hit this question too
  await until(() => sink.events.length >= committed, 'all delivered')
  t.strictSame(sink.seqs(), upTo(sink.events.length))
})

t.test('a subscription says where it begins; beyond the end is the end', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const A = newId()
  await db.tenant(A, (tx) =>
    bus.emitAll(
      tx,
      upTo(5).map((n) => pending(Ticked, 'p', { n }))
    )
  )
  await until(async () => (await bus.head(A)).last === 5n, 'five events')
  const openings: Opening[] = []
  for (const after of [undefined, 2n, 99n]) {
    const opened = (opening: Opening) => void openings.push(opening)
    bus.follow(
      A,
      { topics: ['*'], ...(after === undefined ? {} : { after }) },
      { push: (events) => events.length, opened }
    )
    await until(() => openings.length > [undefined, 2n, 99n].indexOf(after), 'the opening')
  }
  t.strictSame(openings, [
    { from: 5n, to: 5n },
    { from: 2n, to: 5n },
    { from: 5n, to: 5n }
  ])
})

t.test('the platform’s stream is followed by its own seq, by every tenant', async (t) => {
  const { bus, db } = await testBus(t)
  await bus.start()
  const [A, B] = [newId(), newId()]
  const sink = collect()
  bus.follow(B, { topics: [Announced.type], stream: 'platform', after: 0n }, sink)
  await db.tenant(A, (tx) => bus.emit(tx, Announced, '1', { text: 'hear' }))
  await until(() => sink.events.length === 1, 'the announcement')
  t.match(sink.events, [{ seq: 1n, tenantId: null, stream: 'platform', subject: 'gazette:1' }])
})

t.test(
  'retention takes the oldest, keeps what a consumer still wants, and followers hear where history begins',
  async (t) => {
    const { bus, db, sql } = await testBus(t)
    await bus.start()
    const A = newId()
    await db.tenant(A, (tx) =>
      bus.emitAll(
        tx,
        upTo(20).map((n) => pending(Ticked, 'p', { n }))
      )
    )
    await until(async () => (await bus.head(A)).last === 20n, 'twenty events')
    t.equal(await bus.retain(3_600_000), 0, 'nothing is old')
    await sql`update core.event set at = at - interval '2 hours' where seq <= 12`
    await sql`insert into core.consumer_wanted (tenant_id, name, seq) values (${A}, 'slow', 20)`
    await sql`insert into core.consumer (tenant_id, name, seq) values (${A}, 'slow', 7)`
    t.equal(await bus.retain(3_600_000, { streamId: A }), 7)
    await sql`delete from core.consumer_wanted`
    t.equal(await bus.retain(3_600_000, { signal: AbortSignal.abort() }), 0, 'told to end')
    t.equal(await bus.retain(3_600_000, { batch: 2 }), 5, 'in bites, every stream')
    t.equal(await bus.retain(3_600_000), 0)
    t.strictSame(await bus.head(A), { last: 20n, oldest: 13n })
    const sink = collect()
    const oldest: bigint[] = []
    bus.follow(A, { topics: ['*'], after: 4n }, { push: sink.push, resync: (seq) => void oldest.push(seq) })
    await until(() => sink.events.length === 8, 'the rest')
    t.strictSame(oldest, [13n])
    t.strictSame(sink.seqs(), upTo(20).slice(12))
  }
)
