import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { createBus } from '#core/bus/index.ts'
import { Announced, otherHost, Ticked, Tocked, testBus, upTo } from '#core/bus/test/support.ts'
import type { Tx } from '#core/db/types.ts'
import { pending, type StoredEvent } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import type { TestDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'

// What a room would keep: no unique constraint, so that a second handling shows.
async function diary({ sql }: Pick<TestDb, 'sql'>) {
  await sql`create table core.diary (tenant_id uuid not null default core.tenant(), seq bigint, n int, host text)`
  await sql`call core.isolate('core.diary', 'select, insert')`
}
const note = (host: string) => async (tx: Tx, event: StoredEvent & { data: { n: number } }) => {
  await tx`insert into core.diary (seq, n, host) values (${event.seq.toString()}, ${event.data.n}, ${host})`
}
const seqsOf = async ({ sql }: Pick<TestDb, 'sql'>, tenantId: string) =>
  (await sql<{ seq: bigint }[]>`select seq from core.diary where tenant_id = ${tenantId} order by seq`).map((r) =>
    Number(r.seq)
  )

t.test('two hosts handle every event once in the tables, though one is killed in the middle', async (t) => {
  const test = await testBus(t, { pollMs: 50 })
  await diary(test)
  const { bus, db } = test
  bus.on('diary', Ticked, note('here'))
  await bus.start()
  const tenants = upTo(4).map(() => newId())
  const child = fork(new URL('./consumer.ts', import.meta.url), [test.appUrl, test.systemUrl])
  await once(child, 'message')
  let written = 0
  const write = async () => {
    for (const tenant of tenants)
      await db.tenant(tenant, (tx) =>
        bus.emitAll(
          tx,
          upTo(5).map((n) => pending(Ticked, 'p', { n: written + n }))
        )
      )
    written += 5
  }
  const handledThere = async () => (await test.sql`select from core.diary where host = 'there'`).length
  await until(async () => {
    await write()
    return (await handledThere()) > 50
  }, 'both hosts work')
  child.kill('SIGKILL')
  for (const _ of upTo(10)) await write()
  for (const tenant of tenants) {
    await until(async () => (await seqsOf(test, tenant)).length >= written, 'all events')
    t.strictSame(await seqsOf(test, tenant), upTo(written))
  }
  await until(async () => (await test.sql`select from core.consumer_wanted`).length === 0, 'nothing is left to do')
})

t.test(
  'a failing handler is tried five times, then the event is a dead letter and the next ones are handled',
  async (t) => {
    const test = await testBus(t, { retryMs: 10, pollMs: 50 })
    await diary(test)
    const { bus, db } = test
    const attempts: number[] = []
    bus.on('diary', Ticked, async (tx, event) => {
      attempts.push(event.data.n)
      await note('here')(tx, event)
      if (event.data.n === 3) throw new Error('three is bad')
    })
    await bus.start()
    const A = newId()
    await db.tenant(A, (tx) =>
      bus.emitAll(
        tx,
        upTo(5).map((n) => pending(Ticked, 'p', { n }))
      )
    )
    await until(async () => (await seqsOf(test, A)).length === 4, 'the good ones')
    t.strictSame(await seqsOf(test, A), [1, 2, 4, 5], 'nothing of a failed attempt stays')
    t.equal(attempts.filter((n) => n === 3).length, 6, 'once in the batch, five times alone')
    const letters = await db.tenant(A, (tx) => tx`select consumer, seq, type, error, attempts from core.dead_letter`)
    t.strictSame(
      [...letters],
      [{ consumer: 'diary', seq: 3n, type: 'probe.ticked', error: 'three is bad', attempts: 5 }]
    )
  }
)

t.test('while a failed event waits, new events do not shorten its pause', async (t) => {
  const test = await testBus(t, { retryMs: 3_600_000, pollMs: 20 })
  const { bus, db } = test
  let calls = 0
  bus.on('stubborn', Ticked, async () => {
    calls++
    throw new Error('no')
  })
  await bus.start()
  const A = newId()
  const emit = () => db.tenant(A, (tx) => bus.emit(tx, Ticked, 'p', { n: 1 }))
  await emit()
  await until(async () => (await test.sql`select from core.consumer where attempts = 1`).length === 1, 'the failure')
  for (const _ of upTo(5)) await emit()
  await until(async () => (await bus.head(A)).last === 6n, 'more events')
  t.equal(calls, 1)
})

t.test('a new consumer begins at the first event, or behind the last where it says so', async (t) => {
  const test = await testBus(t)
  await diary(test)
  await test.bus.start()
  const A = newId()
  const emit = (n: number) => test.db.tenant(A, (tx) => test.bus.emit(tx, Ticked, 'p', { n }))
  for (const n of [1, 2]) await emit(n)
  await until(async () => (await test.bus.head(A)).last === 2n, 'two events')
  await test.bus.stop()

  const seen: Record<string, number[]> = { start: [], end: [] }
  const host = await otherHost(t, test, { pollMs: 20 })
  host.bus.on('from-start', Ticked, async (_tx, event) => void seen.start?.push(event.data.n))
  host.bus.on('from-end', Ticked, async (_tx, event) => void seen.end?.push(event.data.n), { from: 'end' })
  await host.bus.start()
  await until(() => seen.start?.length === 2, 'history')
  await host.db.tenant(A, (tx) => host.bus.emit(tx, Ticked, 'p', { n: 3 }))
  await until(() => seen.start?.length === 3 && seen.end?.length === 1, 'the new event')
  t.strictSame(seen, { start: [1, 2, 3], end: [3] })
})

t.test('a consumer gets the events that it names, as its tenant', async (t) => {
  const { bus, db } = await testBus(t)
  const seen: string[] = []
  bus.on('both', [Ticked, Tocked], async (tx, event) => {
    const [row] = await tx<{ tenant: string }[]>`select core.tenant() as tenant`
    seen.push(`${event.type} ${row?.tenant === event.tenantId}`)
  })
  await bus.start()
  const A = newId()
  await db.tenant(A, (tx) => bus.emitAll(tx, [pending(Tocked, 'p', { n: 1 }), pending(Ticked, 'p', { n: 2 })]))
  await until(() => seen.length === 2, 'both events')
  t.strictSame(seen, ['probe.tocked true', 'probe.ticked true'])
})

t.test('consumers are registered once, before the start, and not for the platform’s stream', async (t) => {
  const { db } = await testBus(t)
  const bus = createBus({ db })
  t.teardown(() => bus.stop())
  const nothing = async () => {}
  bus.on('one', Ticked, nothing)
  t.throws(() => bus.on('one', Tocked, nothing), { code: 'BUS_CONSUMER_TAKEN' })
  t.throws(() => bus.on('two', Announced, nothing), { code: 'BUS_PLATFORM_CONSUMER' })
  await bus.start()
  t.throws(() => bus.on('three', Ticked, nothing), { code: 'BUS_ALREADY_STARTED' })
})

t.test(
  'a new consumer of a stream that retention has emptied is through at once and goes on with what comes',
  async (t) => {
    const test = await testBus(t, { pollMs: 50 })
    await diary(test)
    await test.bus.start()
    const A = newId()
    const emit = (n: number) => test.db.tenant(A, (tx) => test.bus.emit(tx, Ticked, 'p', { n }))
    for (const n of upTo(3)) await emit(n)
    await until(async () => (await test.bus.head(A)).last === 3n, 'the relay')
    t.equal(await test.bus.retain(0), 3)
    const late = await otherHost(t, test, { pollMs: 50 })
    late.bus.on('diary', Ticked, note('late'))
    await late.bus.start()
    const wanted = async () => (await test.sql`select from core.consumer_wanted`).length
    await until(async () => (await wanted()) === 0, 'nothing is left to do')
    await emit(4)
    await until(async () => (await seqsOf(test, A)).length > 0, 'the next event')
    t.strictSame(await seqsOf(test, A), [4])
  }
)
