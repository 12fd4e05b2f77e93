import t from 'tap'
import { z } from 'zod'
import { systemClock } from '#core/clock.ts'
import { openDb } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { createJobs, type JobRun } from '#core/queue/jobs.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { testDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'

const rooms = [...coreMigrations]
const Data = z.strictObject({ tenantId: z.string(), n: z.number() })
type Data = z.output<typeof Data>

t.test('a job of a committed transaction runs at once, of a rolled back one never', async (t) => {
  const { db } = await testDb(t, { rooms })
  const [A, seen] = [newId(), [] as number[]]
  const jobs = createJobs({ db, pollMs: 60_000 }) // so that only the wake-up can be what starts it
  const job = jobs.define('test.note', Data, async ({ data }) => void seen.push(data.n))
  await jobs.start()
  t.teardown(() => jobs.stop())
  await t.rejects(
    db.tenant(A, async (tx) => {
      await jobs.send(tx, job, { tenantId: A, n: 1 })
      throw new Error('rolled back')
    })
  )
  await db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n: 2 }))
  await until(() => seen.length > 0, 'the job')
  t.strictSame(seen, [2])
})

t.test('a tenant cannot send, see or cancel a job of another', async (t) => {
  const { db, sql } = await testDb(t, { rooms })
  const [A, B] = [newId(), newId()]
  const jobs = createJobs({ db })
  const job = jobs.define('test.late', Data, async () => {})
  await jobs.start()
  t.teardown(() => jobs.stop())
  await t.rejects(
    db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: B, n: 1 })),
    { code: '42501' }
  )
  const id = await db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n: 1 }, { startAfter: 3_600_000 }))
  if (id === null) throw new Error('no job')
  t.equal(await db.tenant(B, (tx) => jobs.cancel(tx, job, id)), false)
  t.equal((await db.tenant(B, (tx) => tx`select id from pgboss.job_common`)).length, 0)
  await t.rejects(
    db.tenant(A, (tx) => tx`update pgboss.job_common set state = 'completed'`),
    { code: '42501' }
  )
  t.equal(await db.tenant(A, (tx) => jobs.cancel(tx, job, id)), true)
  t.equal(await db.tenant(A, (tx) => jobs.cancel(tx, job, id)), false, 'there is nothing left to cancel')
  const rows = await sql`select state from pgboss.job_common where id = ${id}`
  t.equal(rows[0]?.state, 'cancelled')
})

t.test('a timer runs when its time has come and not before', async (t) => {
  const { db } = await testDb(t, { rooms })
  const [A, ran] = [newId(), [] as number[]]
  const jobs = createJobs({ db })
  const job = jobs.define('test.timer', Data, async () => void ran.push(systemClock.monotonic()))
  await jobs.start()
  t.teardown(() => jobs.stop())
  const sent = systemClock.monotonic()
  await db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n: 1 }, { startAfter: 700 }))
  await until(() => ran.length > 0, 'the timer')
  t.ok((ran[0] ?? 0) - sent >= 700)
})

t.test('one key has one waiting job per tenant', async (t) => {
  const { db } = await testDb(t, { rooms })
  const [A, B] = [newId(), newId()]
  const jobs = createJobs({ db })
  const job = jobs.define('test.keyed', Data, async () => {})
  await jobs.start()
  t.teardown(() => jobs.stop())
  const later = { startAfter: 3_600_000, singletonKey: 'sweep' }
  const send = (tenantId: string, options: object) =>
    db.tenant(tenantId, (tx) => jobs.send(tx, job, { tenantId, n: 1 }, options))
  t.type(await send(A, later), 'string')
  t.equal(await send(A, later), null)
  t.type(await send(B, later), 'string')
  t.type(await send(A, { startAfter: 3_600_000 }), 'string', 'without a key there is no limit')
  t.type(await send(A, { startAfter: 3_600_000 }), 'string')

  // SQL of A's own: a waiting job of B's key would drop the one that B sends.
  const insert = (tenantId: string, key: string | null) =>
    db.tenant(
      tenantId,
      (tx) => tx`
        insert into pgboss.job_common (name, data, policy, singleton_key)
        values ('test.keyed', ${tx.json({ tenantId })}, 'short', ${key})`
    )
  for (const key of [`${B}:taken`, `${A}taken`, '', null])
    await t.rejects(insert(A, key), { code: '42501' }, `key ${key}`)
  await insert(A, `${A}:taken`)
  t.type(await send(B, { startAfter: 3_600_000, singletonKey: 'taken' }), 'string')
  t.equal(await send(A, { startAfter: 3_600_000, singletonKey: 'taken' }), null)
})

t.test('a failing job is tried again, then lies with the dead letters of its tenant', async (t) => {
  const { db } = await testDb(t, { rooms })
  const [A, B] = [newId(), newId()]
  const attempts: number[] = []
  const jobs = createJobs({ db })
  const options = { retryLimit: 2, retryDelaySeconds: 0, backoff: false }
  const handler = async ({ attempt, data }: JobRun<Data>) => {
    attempts.push(attempt)
    throw new Error(`no ${data.n}`)
  }
  const job = jobs.define('test.broken', Data, handler, options)
  await jobs.start()
  t.teardown(() => jobs.stop())
  await db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n: 9 }))
  const dead = (tenantId: string) => db.tenant(tenantId, (tx) => jobs.deadLetters(tx, 10))
  await until(async () => (await dead(A)).length > 0, 'the dead letter')
  t.strictSame(attempts, [1, 2, 3])
  t.match(await dead(A), [{ job: 'test.broken', data: { tenantId: A, n: 9 }, error: { message: 'no 9' } }])
  t.strictSame(await dead(B), [])
})

t.test('a run that takes too long is aborted, and stop() waits for those at work', async (t) => {
  const { db } = await testDb(t, { rooms })
  const A = newId()
  const jobs = createJobs({ db })
  let [aborted, finished] = [false, false]
  const slow = jobs.define(
    'test.slow',
    Data,
    ({ signal }) =>
      new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          aborted = true
          resolve()
        })
      }),
    { expireInSeconds: 1, retryLimit: 0 }
  )
  let [begin, end] = [() => {}, () => {}]
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const work = jobs.define('test.work', Data, async () => {
    begin()
    await new Promise<void>((resolve) => {
      end = resolve
    })
    finished = true
  })
  await jobs.start()
  await db.tenant(A, (tx) => jobs.send(tx, slow, { tenantId: A, n: 1 }))
  await until(() => aborted, 'the abort')
  await db.tenant(A, (tx) => jobs.send(tx, work, { tenantId: A, n: 1 }))
  await begun
  const stopped = jobs.stop()
  end()
  await stopped
  t.equal(finished, true)
  await t.rejects(
    db.tenant(A, (tx) => jobs.send(tx, work, { tenantId: A, n: 2 })),
    { code: 'JOBS_NOT_STARTED' }
  )
})

t.test('two hosts share the work: every job runs once', async (t) => {
  const { db, appUrl, systemUrl, secrets } = await testDb(t, { rooms })
  const { tenantHmacKey } = secrets
  const other = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 4, systemPool: 2 })
  t.teardown(() => other.close())
  const A = newId()
  const runs: number[] = []
  const hosts = [db, other].map((own) => {
    const jobs = createJobs({ db: own })
    jobs.define('test.shared', Data, async ({ data }) => void runs.push(data.n))
    return jobs
  })
  for (const host of hosts) await host.start()
  t.teardown(() => Promise.all(hosts.map((host) => host.stop())))
  await db.tenant(A, async (tx) => {
    for (let n = 0; n < 50; n++) await hosts[0]?.send(tx, 'test.shared', { tenantId: A, n })
  })
  await until(() => runs.length >= 50, 'all jobs')
  t.strictSame(
    runs.sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, n) => n)
  )
})

// Not those being set up: postgres.js asks for the array types there with a query whose rejection nobody handles.
t.test('when the database cuts every connection, jobs go on', async (t) => {
  const { db, sql } = await testDb(t, { rooms })
  const [A, seen] = [newId(), new Set<number>()]
  const jobs = createJobs({ db })
  const job = jobs.define('test.tough', Data, async ({ data }) => seen.add(data.n), { retryDelaySeconds: 0 })
  await jobs.start()
  t.teardown(() => jobs.stop())
  const send = (n: number) => db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n }))
  await send(1)
  await until(() => seen.has(1), 'the first job')
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename in ('agentos_app', 'agentos_system')
    and backend_start < clock_timestamp() - interval '100 ms'`
  await until(
    () =>
      send(2).then(
        () => true,
        () => false
      ),
    'a connection'
  )
  await until(() => seen.has(2), 'the job after')
  t.strictSame([...seen], [1, 2])
})

t.test('a schedule is kept, changed and taken away', async (t) => {
  const { db, sql } = await testDb(t, { rooms })
  const jobs = createJobs({ db })
  const job = jobs.define('test.cron', z.strictObject({}), async () => {})
  await jobs.start()
  t.teardown(() => jobs.stop())
  await jobs.schedule(job, '*/5 * * * *')
  await jobs.schedule(job, '0 3 * * *', 'Europe/Athens')
  const rows = await sql`select name, cron, timezone from pgboss.schedule`
  t.strictSame([...rows], [{ name: 'test.cron', cron: '0 3 * * *', timezone: 'Europe/Athens' }])
  await t.rejects(jobs.schedule(job, 'every day'))
  await jobs.unschedule(job)
  t.equal((await sql`select 1 from pgboss.schedule`).length, 0)
})

t.test('a job whose data no longer fits its schema becomes a dead letter without a run', async (t) => {
  const { db, sql } = await testDb(t, { rooms })
  const A = newId()
  let runs = 0
  const jobs = createJobs({ db })
  const job = jobs.define('test.schema', Data, async () => void runs++)
  await jobs.start()
  t.teardown(() => jobs.stop())
  await t.rejects(
    db.tenant(A, (tx) => jobs.send(tx, job, { tenantId: A, n: 'one' } as never)),
    { code: 'JOBS_DATA_INVALID' }
  )
  const old = { tenantId: A, count: 1 } // as an older version of the room sent it
  await sql`insert into pgboss.job_common (name, data, policy, dead_letter)
    values ('test.schema', ${sql.json(old)}, 'short', 'dead_letter')`
  await until(async () => (await db.tenant(A, (tx) => jobs.deadLetters(tx, 1))).length > 0, 'the dead letter')
  t.equal(runs, 0)
})

t.test('jobs of a suspended tenant wait, at no cost of an attempt, and run when it is resumed', async (t) => {
  const { db, sql } = await testDb(t, { rooms })
  const make = (slug: string) => db.system((tx) => createTenant(tx, { name: slug, slug, plan: 'free' }))
  const [{ id: A }, { id: B }] = [await make('a'), await make('b')]
  const seen: string[] = []
  const jobs = createJobs({ db })
  const job = jobs.define('test.held', Data, async ({ data, attempt }) => {
    seen.push(`${data.tenantId === A ? 'a' : 'b'}${data.n} attempt ${attempt}`)
  })
  await jobs.start()
  t.teardown(() => jobs.stop())
  const send = (tenantId: string, n: number, startAfter = 0) =>
    db.tenant(tenantId, (tx) => jobs.send(tx, job, { tenantId, n }, { startAfter, singletonKey: 'one' }))
  const parked = () => sql`select 1 from pgboss.job_common where start_after = 'infinity'`
  await send(A, 1, 300)
  await sql`update core.tenants set suspended_at = now(), suspended_by = 'platform' where tenant_id = ${A}`
  await until(async () => (await parked()).length === 1, 'the timer came due and was put back')
  await send(A, 2)
  await until(async () => (await parked()).length === 2, 'and another of the same key')
  await send(B, 3)
  await until(() => seen.length === 1, 'others go on')
  t.strictSame(seen, ['b3 attempt 1'])
  await sql`update core.tenants set suspended_at = null, suspended_by = null where tenant_id = ${A}`
  await until(() => seen.length === 3, 'both ran')
  t.strictSame(seen.slice(1).sort(), ['a1 attempt 1', 'a2 attempt 1'])
})
