import t from 'tap'
import { Committer } from '#core/actors/committer.ts'
import { createBus } from '#core/bus/index.ts'
import { systemClock } from '#core/clock.ts'
import { newId } from '#core/ids.ts'
import { createLog } from '#core/log.ts'
import { must } from '#core/must.ts'
import { type Claimed, claimExpired, claimQueued, expireOwn, handBack, renew } from '#core/queue/claim.ts'
import { LEASE_MS } from '#core/queue/lease.ts'
import { enqueue, QueueFull, recount } from '#core/queue/slots.ts'
import { claimDb, finish, kind, lastCommit, planOf } from './claim-support.ts'

const [A, B] = [newId(), newId()]

t.test('a free tenant with one session starts within one turn of a tenant with 10,000', async (t) => {
  const { db, queue, slot } = await claimDb(t)
  const big = await queue(10_000)
  const claim = (capacity: number) => db.system((tx) => claimQueued(tx, kind, A, capacity))
  t.strictSame(
    (await claim(64)).map(({ id }) => id),
    big.ids.slice(0, 10),
    'ten of one tenant in a turn, oldest first'
  )
  const small = await queue(1, { max: 2 })
  const next = await claim(64)
  t.ok(
    next.some(({ id }) => id === small.ids[0]),
    'in the very next claim'
  )
  t.equal(next.length, 11)

  const late = await queue(1, { max: 2 })
  const turns = [await claim(1), await claim(1)].flat().map(({ tenantId }) => tenantId)
  t.ok(turns.includes(late.tenantId), 'and by a host with one place left after one turn of the other at most')
  t.strictSame(await slot(small.tenantId), { running: 1, queued: 0 })
  const { running, queued } = await slot(big.tenantId)
  t.equal(running + queued, 10_000)
})

t.test('tenants go round: whoever was served goes to the end', async (t) => {
  const { db, queue } = await claimDb(t)
  const tenants = [await queue(30), await queue(30), await queue(30)].map(({ tenantId }) => tenantId)
  const served: string[] = []
  for (let turn = 0; turn < 6; turn += 1) {
    const [first] = await db.system((tx) => claimQueued(tx, kind, A, 1))
    served.push(must(first, 'a claimed session').tenantId)
  }
  t.strictSame(served, [...tenants, ...tenants])
})

t.test('a limit of two is never exceeded by two hosts that claim at once', async (t) => {
  const { db, another, queue, slot, sql } = await claimDb(t)
  const { tenantId } = await queue(40, { max: 2 })
  const hosts = [
    { hostId: A, db },
    { hostId: B, db: await another() }
  ]
  let ended = 0
  while (ended < 40) {
    const claims = await Promise.all(
      [...hosts, ...hosts, ...hosts].map(async ({ db, hostId }) =>
        (await db.system((tx) => claimQueued(tx, kind, hostId, 10))).map((row) => ({ db, hostId, row }))
      )
    )
    const [held] = await sql`select count(*)::int as n from pulse.session where lease_owner is not null`
    if (held?.n > 2) t.fail(`${held?.n} run`)
    if (claims.flat().length > 2) t.fail(`${claims.flat().length} claimed at once`)
    t.equal((await slot(tenantId)).running, held?.n)
    for (const { db, hostId, row } of claims.flat()) {
      if (await finish(db, hostId, row)) ended += 1
    }
  }
  t.strictSame(await slot(tenantId), { running: 0, queued: 0 })
  const [moves] =
    await sql`select count(*)::int as n, count(distinct actor_id)::int as ids from core.transition where n = 2`
  t.strictSame({ ...moves }, { n: 40, ids: 40 }, 'each was granted once')
})

t.test('the higher band goes first, in a band whoever waits longest', async (t) => {
  const { db, queue } = await claimDb(t)
  const { ids } = await queue(6, { bands: [0, 1, 3, 1, 2, 3] })
  const order: string[] = []
  for (let n = 0; n < 6; n += 1) {
    for (const row of await db.system((tx) => claimQueued(tx, kind, A, 1))) order.push(row.id)
  }
  t.strictSame(
    order.map((id) => ids.indexOf(id)),
    [2, 5, 4, 1, 3, 0]
  )
})

t.test('a claim takes what the host has room for and no more', async (t) => {
  const { db, queue, slot } = await claimDb(t)
  const queues = [await queue(20), await queue(20, { max: 3 }), await queue(20)]
  const rows = await db.system((tx) => claimQueued(tx, kind, A, 17))
  t.equal(rows.length, 17)
  const counts = await Promise.all(queues.map(({ tenantId }) => slot(tenantId)))
  t.strictSame(counts.map(({ running }) => running).sort(), [10, 3, 4].sort())
  for (const { running, queued } of counts) t.equal(running + queued, 20)
  const [row] = rows
  t.match(row, { from: 'QUEUED', state: 'RUNNING', epoch: 1, version: 1, moves: 2, slotted: true })
  t.equal((await db.system((tx) => claimQueued(tx, kind, A, 0))).length, 0)
})

t.test('the claims read no table from end to end', async (t) => {
  const { db, queue, sql } = await claimDb(t)
  await queue(10_000)
  // As many tenants that do nothing, and as many sessions that have ended.
  await sql`
    insert into core.slot (tenant_id, class, max, queue_max)
    select gen_random_uuid(), ${kind.kind}, 2, 100 from generate_series(1, 10000)`
  await sql`
    insert into pulse.session (tenant_id, id, config, pinned, state, context, ended_at)
    select gen_random_uuid(), gen_random_uuid(), '{}', '{}', 'COMPLETE', '{}', now() from generate_series(1, 10000)`
  await sql`vacuum analyze pulse.session`
  await sql`vacuum analyze core.slot`
  for (const claim of [claimQueued, claimExpired]) {
    const plan = await db.system((tx) => planOf(tx, (tx) => claim(tx, kind, A, 64)))
    const scans = plan.flatMap((node) =>
      node['Relation Name'] ? [`${node['Node Type']} ${node['Relation Name']}`] : []
    )
    t.ok(
      scans.some((scan) => scan.startsWith('Index')),
      scans.join()
    )
    t.strictSame(
      scans.filter((scan) => /^Seq Scan (session|slot)$/.test(scan)),
      [],
      claim.name
    )
    const sorts = plan.filter((node) => node['Node Type'] === 'Sort')
    t.equal(sorts.length, 0, 'the index gives the order: nothing is read to be sorted')
  }
})

t.test(
  'a lease that ran out goes to another host with the next epoch, and the former one writes nothing',
  async (t) => {
    const { db, another, queue, slot, sql } = await claimDb(t)
    const { tenantId, ids } = await queue(1, { max: 2 })
    const other = await another()
    const claimAt = async (host: typeof db, hostId: string) =>
      must((await host.system((tx) => claimExpired(tx, kind, hostId, 10)))[0], 'a lease that ran out')
    const [first] = await db.system((tx) => claimQueued(tx, kind, A, 10))
    const stale = must(first, 'the claimed session')
    t.equal((await other.system((tx) => claimExpired(tx, kind, B, 10))).length, 0, 'a living lease is nobody else’s')
    const [lease] =
      await sql`select extract(epoch from lease_until - clock_timestamp()) * 1000 as ms from pulse.session`
    t.ok(lease?.ms > LEASE_MS - 5000 && lease?.ms <= LEASE_MS, 'by the clock of the database')

    await sql`update pulse.session set lease_until = now() - interval '1 ms'`
    const taken = await claimAt(other, B)
    t.match(taken, { id: ids[0], epoch: 2, from: 'RUNNING', state: 'RUNNING', moves: stale.moves, slotted: true })
    t.strictSame(await slot(tenantId), { running: 1, queued: 0 }, 'it keeps its slot')

    const look = () => sql`
    select s.*, (select count(*)::int from core.transition) as transitions,
      (select count(*)::int from core.journal) as journal, (select count(*)::int from core.event) as events,
      (select running from core.slot) as running
    from pulse.session s`
    const before = await look()
    t.equal(await finish(db, A, stale), false)
    t.equal(await finish(db, B, stale), false, 'the epoch alone decides, whoever holds it')
    t.equal(await finish(db, B, { ...taken, version: taken.version - 1 }), false, 'nor a commit on an older version')

    // The same through what a host commits with: a frozen one wakes up and goes on.
    const bus = createBus({ db, clock: systemClock })
    const log = createLog({ level: 'silent' })
    const committer = new Committer({ kind, hostId: A, db, bus, clock: systemClock, log, lanes: 2 })
    const { commit } = { commit: lastCommit(stale) }
    t.equal(await committer.commit({ commit, events: [], rows: [] }), 'lost')
    t.strictSame(await look(), before, 'not a row was written')

    t.equal(await finish(other, B, taken), true)
    t.equal(await finish(other, B, taken), false, 'no epoch commits the same twice')
    t.strictSame(await slot(tenantId), { running: 0, queued: 0 })
  }
)

t.test('two hosts that look at the same dead leases share them', async (t) => {
  const { db, another, queue, sql } = await claimDb(t)
  await queue(40)
  for (let turn = 0; turn < 4; turn += 1) await db.system((tx) => claimQueued(tx, kind, A, 64))
  await sql`update pulse.session set lease_until = now() - interval '1 ms'`
  const hosts = [db, await another(), await another()]
  const taken = await Promise.all(
    hosts.map((host, n) => host.system((tx) => claimExpired(tx, kind, [A, B, newId()][n] ?? A, 20)))
  )
  for (const rows of taken) t.ok(rows.length <= 20)
  const ids = taken.flat().map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length, 'none twice')
  t.equal(ids.length + (await db.system((tx) => claimExpired(tx, kind, A, 64))).length, 40, 'none lost')
})

t.test('a host renews the leases that it knows, and only those', async (t) => {
  const { db, queue, sql } = await claimDb(t)
  await queue(3)
  const rows = await db.system((tx) => claimQueued(tx, kind, A, 10))
  const [known, forgotten, lost] = rows.map(({ tenantId, id, epoch }) => ({ tenantId, id, epoch }))
  const keys = [must(known, 'one'), { ...must(lost, 'three'), epoch: 7 }]
  await sql`update pulse.session set lease_until = now() + interval '1 s'`
  t.strictSame(await db.system((tx) => renew(tx, kind, B, keys)), new Map(), 'another host cannot')
  t.strictSame(await db.system((tx) => renew(tx, kind, A, keys)), new Map([[known?.id, { suspended: false }]]))
  const left = await sql<{ id: string; renewed: boolean }[]>`
    select id, lease_until > now() + interval '4 s' as renewed from pulse.session`
  t.strictSame(
    new Map(left.map(({ id, renewed }) => [id, renewed])),
    new Map([
      [known?.id, true],
      [forgotten?.id, false],
      [lost?.id, false]
    ])
  )
})

t.test('a host hands leases back, and takes its own back when it starts again', async (t) => {
  const { db, queue } = await claimDb(t)
  await queue(3)
  const mine = await db.system((tx) => claimQueued(tx, kind, A, 2))
  const [other] = await db.system((tx) => claimQueued(tx, kind, B, 1))
  const [first, second] = mine.map(({ tenantId, id, epoch }) => ({ tenantId, id, epoch }))
  const keys = [must(first, 'one'), { ...must(second, 'two'), epoch: 9 }]
  await db.system((tx) => handBack(tx, kind, B, keys))
  t.equal((await db.system((tx) => claimExpired(tx, kind, B, 10))).length, 0, 'not another host’s')
  await db.system((tx) => handBack(tx, kind, A, keys))
  const taken: Claimed[] = await db.system((tx) => claimExpired(tx, kind, B, 10))
  t.strictSame(
    taken.map(({ id, epoch }) => [id, epoch]),
    [[first?.id, 2]],
    'the one of this epoch'
  )

  t.equal(await db.system((tx) => expireOwn(tx, kind, A)), 1, 'the second, which nobody took')
  const again = await db.system((tx) => claimExpired(tx, kind, A, 10))
  t.strictSame(
    again.map(({ id, epoch }) => [id, epoch]),
    [[second?.id, 2]]
  )
  t.ok(other)
})

t.test('a tampered slot row is counted again from the sessions', async (t) => {
  const { db, queue, slot, sql } = await claimDb(t)
  const [wrong, right] = [await queue(5), await queue(5)]
  await db.system((tx) => claimQueued(tx, kind, A, 4))
  const counted = await slot(wrong.tenantId)
  await sql`update core.slot set running = 7, queued = 40 where tenant_id = ${wrong.tenantId}`
  const repaired = await db.system((tx) => recount(tx, kind, 10))
  t.strictSame([...repaired], [{ tenantId: wrong.tenantId, ...counted }])
  t.strictSame(await slot(wrong.tenantId), counted)
  t.strictSame([...(await db.system((tx) => recount(tx, kind, 10)))], [], 'and then there is nothing to repair')
  t.ok(right)
})

t.test('a full queue refuses, with its limit, and the transaction leaves nothing behind', async (t) => {
  const { db, sql, slot } = await claimDb(t)
  const tenantId = newId()
  const limits = async () => ({ max: 2, queueMax: 2 })
  const add = (n: number) =>
    db.tenant(tenantId, async (tx) => {
      await tx`insert into core.journal (actor_id, key, record, epoch) values (${newId()}, 'k', '{}', 1)`
      await enqueue(tx, kind.kind, n, limits)
    })
  await add(2)
  const refused = await Promise.allSettled([add(1), add(1), add(2)])
  for (const one of refused) {
    t.match(one, { status: 'rejected', reason: { code: 'QUEUE_FULL', status: 429, details: { limit: 2, used: 2 } } })
  }
  // A caller that swallows the refusal does not get its rows in either.
  await db
    .tenant(tenantId, async (tx) => {
      await tx`insert into core.journal (actor_id, key, record, epoch) values (${newId()}, 'k', '{}', 1)`
      await enqueue(tx, kind.kind, 1, limits).catch((error) => t.type(error, QueueFull))
    })
    .catch(() => {})
  t.strictSame(await slot(tenantId), { running: 0, queued: 2 })
  t.equal((await sql`select 1 from core.journal`).length, 1, 'of the one that was let in')
})
