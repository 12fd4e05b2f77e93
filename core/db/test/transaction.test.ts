import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { openDb } from '#core/db/index.ts'
import type { Tx } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { testDb } from '#test/support/db.ts'
import { makeNotes, tenantA, tenantB } from './notes.ts'

const { db, sql, appUrl, systemUrl, secrets } = await testDb(t, {
  open: { appPool: 2, systemPool: 1, acquireTimeoutMs: 200 }
})
const { tenantHmacKey } = secrets
await makeNotes(sql)

const pidOf = async (tx: Tx): Promise<number> =>
  (await tx<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]?.pid ?? 0

t.test('int8 is a bigint both ways, timestamptz a Date, jsonb parsed', async (t) => {
  const big = 9_007_199_254_740_993n
  const [row] = await db.tenant(tenantA, async (tx) => {
    await tx`insert into lab.note (text, size) values ('big', ${big})`
    return tx`select size, now() as at, '{"a": [1]}'::jsonb as doc from lab.note where size = ${big}`
  })
  t.equal(row?.size, big)
  t.type(row?.at, Date)
  t.strictSame(row?.doc, { a: [1] })
})

t.test('what work returns is returned, also an array of promises or nothing', async (t) => {
  t.equal(await db.tenant(tenantA, async () => undefined), undefined)
  t.strictSame(await db.tenant(tenantA, async () => [1, 2]), [1, 2])
})

t.test('a throw rolls back and comes out as it was thrown', async (t) => {
  const thrown = new Error('mine')
  const work = db.tenant(tenantB, async (tx) => {
    await tx`insert into lab.note (text) values ('gone')`
    throw thrown
  })
  await t.rejects(work, thrown)
  t.equal((await sql`select 1 from lab.note where text = 'gone'`).length, 0)
})

t.test('a code of ours that begins with E is not taken for a broken connection', async (t) => {
  const large = Object.assign(new Error('too large'), { code: 'EVENT_TOO_LARGE' })
  await t.rejects(
    db.tenant(tenantA, () => Promise.reject(large)),
    { code: 'EVENT_TOO_LARGE' }
  )
  for (const code of ['ECONNRESET', 'EAI_AGAIN', 'ERR_SOCKET_CLOSED', 'CONNECTION_CLOSED']) {
    const lost = Object.assign(new Error('gone'), { code })
    await t.rejects(
      db.tenant(tenantA, () => Promise.reject(lost)),
      { code: 'DB_UNAVAILABLE' },
      code
    )
  }
})

t.test('hooks after commit run once, in order, and never after a rollback', async (t) => {
  const ran: string[] = []
  await db.tenant(tenantA, async (tx) => {
    db.afterCommit(tx, () => ran.push('outer'))
    await tx.savepoint(async (inner) => {
      db.afterCommit(inner, () => ran.push('kept savepoint'))
      await inner`select 1`
    })
    const failing = tx.savepoint(async (inner) => {
      db.afterCommit(inner, () => ran.push('rolled back savepoint'))
      await inner`select 1 / 0`
    })
    await t.rejects(failing, { code: '22012' })
    db.afterCommit(tx, () => {
      throw new Error('a failing hook fails nobody')
    })
    db.afterCommit(tx, () => ran.push('last'))
    t.strictSame(ran, [], 'not before the commit')
  })
  t.strictSame(ran, ['outer', 'kept savepoint', 'last'])
  await t.rejects(
    db.system(async (tx) => {
      db.afterCommit(tx, () => ran.push('never'))
      await tx`select 1 / 0`
    })
  )
  t.equal(ran.includes('never'), false)
  t.throws(() => db.afterCommit(sql as unknown as Tx, () => {}), /open transaction/)
})

t.test('a query on a finished transaction is refused and reaches no other one', async (t) => {
  let late: Tx | undefined
  let lazy: PromiseLike<unknown> | undefined
  await db.tenant(tenantA, async (tx) => {
    late = tx
    lazy = tx`delete from lab.note` // never awaited inside: a forgotten await
  })
  const ended = must(late, 'the transaction')
  await t.rejects(Promise.resolve(ended`delete from lab.note`), { code: 'DB_TRANSACTION_ENDED' })
  await t.rejects(Promise.resolve(ended.unsafe('delete from lab.note')), { code: 'DB_TRANSACTION_ENDED' })
  await t.rejects(Promise.resolve(lazy), { code: 'DB_TRANSACTION_ENDED' })
  t.ok((await sql`select 1 from lab.note`).length > 0)
})

for (const when of ['between two queries', 'during a query', 'before the commit', 'inside a savepoint']) {
  t.test(`a connection that breaks ${when} is a 503, and the pool goes on`, async (t) => {
    let again: Promise<unknown> | undefined
    const work = db.tenant(tenantA, async (tx) => {
      const pid = await pidOf(tx)
      await tx`insert into lab.note (text) values (${when})`
      if (when === 'during a query') {
        const slow = tx`select pg_sleep(10)`.execute()
        await untilBusy(pid)
        await sql`select pg_terminate_backend(${pid})`
        return slow
      }
      if (when === 'inside a savepoint') {
        return tx.savepoint(async (inner) => {
          await sql`select pg_terminate_backend(${pid}, 5000)`
          return inner`select 1`
        })
      }
      await sql`select pg_terminate_backend(${pid}, 5000)` // waits until it has gone
      if (when === 'before the commit') return
      again = Promise.resolve(tx`select 1`).catch((error) => error)
      await again
      return tx`select 2`
    })
    await t.rejects(work, { code: 'DB_UNAVAILABLE', status: 503, retryAfterMs: 1000 })
    if (again) t.match(await again, { code: 'DB_UNAVAILABLE' })
    t.equal((await sql`select 1 from lab.note where text = ${when}`).length, 0, 'nothing was committed')
    const pids = await Promise.all([1, 2, 3, 4, 5, 6].map(() => db.tenant(tenantA, pidOf)))
    t.equal(pids.filter((pid) => pid > 0).length, 6)
  })
}

async function untilBusy(pid: number): Promise<void> {
  for (;;) {
    const [row] = await sql`select state, query from pg_stat_activity where pid = ${pid}`
    if (row?.state === 'active' && row.query.includes('pg_sleep')) return
    await systemClock.sleep(5)
  }
}

t.test('waiting for a connection is bounded in time and in number', async (t) => {
  const release = Promise.withResolvers<void>()
  const holders = [1, 2].map(() => db.tenant(tenantA, () => release.promise))
  const waiting = Array.from({ length: 200 }, () =>
    db.tenant(tenantA, async () => 'ran').catch((error) => error.message)
  )
  const answers = await Promise.all(waiting)
  t.equal(answers.filter((text) => text.includes('128 transactions are waiting')).length, 200 - 128)
  t.equal(answers.filter((text) => text.includes('within 200 ms')).length, 128)
  release.resolve()
  await Promise.all(holders)
  t.equal(await db.tenant(tenantA, async () => 'free again'), 'free again')
})

t.test('a server that is not there is a 503', async (t) => {
  const nowhere = 'postgres://agentos_app:x@127.0.0.1:9/none'
  await t.rejects(openDb({ appUrl: nowhere, systemUrl: nowhere, tenantHmacKey }), {
    code: 'DB_UNAVAILABLE',
    status: 503
  })
})

t.test('statements, locks and idle transactions have limits', async (t) => {
  const limited = await openDb({
    appUrl,
    systemUrl,
    tenantHmacKey,
    appPool: 2,
    statementTimeoutMs: 100,
    idleInTransactionTimeoutMs: 100
  })
  t.teardown(() => limited.close())
  await t.rejects(
    limited.tenant(tenantA, (tx) => tx`select pg_sleep(5)`),
    { code: '57014' }
  )
  const idle = limited.tenant(tenantA, async (tx) => {
    const pid = await pidOf(tx)
    while ((await sql`select 1 from pg_stat_activity where pid = ${pid}`).length > 0) await systemClock.sleep(10)
    return 'too late'
  })
  await t.rejects(idle, { code: 'DB_UNAVAILABLE' })
})

t.test('a reserved connection holds its session lock, and says when it has lost it', async (t) => {
  const held = await db.reserveSystem()
  t.equal((await held`select pg_try_advisory_lock(77) as mine`)[0]?.mine, true)
  const other = await db.reserveSystem()
  t.equal((await other`select pg_try_advisory_lock(77) as mine`)[0]?.mine, false)
  const [row] = await held`select pg_backend_pid() as pid`
  await sql`select pg_terminate_backend(${row?.pid}, 5000)`
  await t.rejects(Promise.resolve(held`select 1`), { code: 'DB_UNAVAILABLE' })
  await t.rejects(
    Promise.resolve(held`select 1`),
    { code: 'DB_UNAVAILABLE' },
    'it does not silently come back without the lock'
  )
  t.equal((await other`select pg_try_advisory_lock(77) as mine`)[0]?.mine, true)
  held.release()
  other.release()
  await t.rejects(Promise.resolve(other`select 1`), { code: 'DB_TRANSACTION_ENDED' })
})

t.test('ping answers', async (t) => {
  await t.resolves(db.ping())
})

t.test('a snapshot reads everything as it was at one moment, and writes nothing', async (t) => {
  const count = (tx: Tx) => tx`select count(*)::int as n from lab.note`.then(([row]) => row?.n)
  await db.tenant(
    tenantA,
    async (tx) => {
      const before = await count(tx)
      await db.tenant(tenantA, (other) => other`insert into lab.note (text) values ('meanwhile')`)
      t.equal(await count(tx), before)
    },
    { snapshot: true }
  )
  const write = db.tenant(tenantA, (tx) => tx`insert into lab.note (text) values ('mine')`, { snapshot: true })
  await t.rejects(write, { code: '25006' })
})
