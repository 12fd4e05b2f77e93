// node bench/bus.ts [rows]: how soon an event arrives with a long history, how many a relay numbers a second.
// Wants a Postgres to make databases in: AGENTOS_TEST_DATABASE_URL, or the embedded one (test/support/cluster.ts).

import { createBus } from '#core/bus/index.ts'
import { lockStreams, numberEvents, waitingStreams } from '#core/bus/store/relay.ts'
import { busRooms, Ticked } from '#core/bus/test/support.ts'
import { systemClock } from '#core/clock.ts'
import { pending } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { testDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'

const rows = Number(process.argv[2] ?? 1_000_000)
const teardowns: (() => unknown)[] = []
const { db, sql } = await testDb({ teardown: (...run: (() => unknown)[]) => void teardowns.unshift(...run) } as never, {
  rooms: busRooms
})
const say = (line: string) => process.stdout.write(`${line}\n`)
const percentile = (values: number[], p: number) =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * p)] ?? 0

const tenants = 1000
await sql`insert into core.stream (stream_id, last_seq) select core.uuidv7(), ${rows / tenants} from generate_series(1, ${tenants})`
await sql`insert into core.event (tenant_id, id, type, subject, data, seq)
  select s.stream_id, gen_random_uuid(), 'probe.ticked', 'probe:' || n, '{"n":1}', n
  from core.stream s, generate_series(1, ${rows / tenants}) n where s.last_seq > 0`
await sql`vacuum analyze core.event, core.stream`
const ids = (await sql<{ id: string }[]>`select stream_id as id from core.stream where last_seq > 0 limit 50`).map(
  (r) => r.id
)
say(`${rows} published rows of ${tenants} tenants`)

await db.system(async (tx) => {
  const explain = 'explain (format text) ' as never
  const locked = await lockStreams(tx, ids)
  for (const plan of [
    await numberEvents(tx, locked.slice(0, 1), 2000, explain),
    await waitingStreams(tx, 1024, explain)
  ])
    for (const line of plan as unknown as Record<string, string>[]) {
      const text = Object.values(line)[0] ?? ''
      if (/(Scan|Update|Insert) /.test(text)) say(`  ${text.trim()}`)
    }
})

const bus = createBus({ db })
await bus.start()
teardowns.unshift(() => bus.stop())

const [tenant = newId()] = ids
const latencies: number[] = []
let arrived = 0
bus.follow(
  tenant,
  { topics: ['*'] },
  {
    push(events) {
      arrived += events.length
      return events.length
    }
  }
)
await systemClock.sleep(300)
for (let i = 0; i < 500; i++) {
  let committed = 0
  const before = arrived
  await db.tenant(tenant, (tx) => {
    db.afterCommit(tx, () => {
      committed = systemClock.monotonic()
    })
    return bus.emit(tx, Ticked, 'p', { n: i })
  })
  while (arrived === before) await new Promise(setImmediate)
  latencies.push(systemClock.monotonic() - committed)
}
say(
  `commit -> follower, idle: p50 ${percentile(latencies, 0.5).toFixed(2)} ms, p99 ${percentile(latencies, 0.99).toFixed(2)} ms, max ${Math.max(...latencies).toFixed(2)} ms`
)

const perTenant = 1000
const fresh = Array.from({ length: 50 }, newId)
const begun = systemClock.monotonic()
await Promise.all(
  fresh.map(async (id) => {
    for (let i = 0; i < perTenant; i += 20)
      await db.tenant(id, (tx) =>
        bus.emitAll(
          tx,
          Array.from({ length: 20 }, (_, n) => pending(Ticked, 'p', { n: i + n }))
        )
      )
  })
)
const written = systemClock.monotonic()
for (const id of fresh) await until(async () => (await bus.head(id)).last === BigInt(perTenant), 'all numbered')
const done = systemClock.monotonic()
const total = fresh.length * perTenant
say(
  `50 tenants x ${perTenant} events, 20 a transaction: written ${Math.round((total / (written - begun)) * 1000)}/s, written and numbered ${Math.round((total / (done - begun)) * 1000)}/s`
)

// A relay alone: everything is there before it starts.
await bus.stop()
const backlog = createBus({ db })
const late = Array.from({ length: 50 }, newId)
for (const id of late)
  await db.tenant(id, (tx) =>
    backlog.emitAll(
      tx,
      Array.from({ length: 1000 }, (_, n) => pending(Ticked, 'p', { n }))
    )
  )
const started = systemClock.monotonic()
await backlog.start()
teardowns.unshift(() => backlog.stop())
for (const id of late) await until(async () => (await backlog.head(id)).last === 1000n, 'the backlog')
say(`relay alone, 50 tenants x 1000 waiting: ${Math.round((50_000 / (systemClock.monotonic() - started)) * 1000)}/s`)

for (const run of teardowns) await run()
process.exit(0)
