import t from 'tap'
import { audit, auditAll, auditAs } from '#core/audit/audit.ts'
import { AuditLog } from '#core/audit/service.ts'
import { systemClock } from '#core/clock.ts'
import { silentLog } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { type TestDb, testDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'

const done = (n: number) => ({ action: 'note.written', subject: `note:${n}` })

/** One host's part of the kernel. */
function host({ db, secrets }: TestDb) {
  return new AuditLog({ db, clock: systemClock, keySeed: secrets.auditKeySeed, log: silentLog })
}

async function tenant({ sql }: TestDb, id = newId()): Promise<string> {
  await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${id}, 'x', ${`t-${id}`}, 'pro')`
  return id
}

t.test('rows are sealed within a second, in the order of their transactions', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations] })
  const [a, b] = [await tenant(base), await tenant(base)]
  const log = host(base)
  log.start()
  t.teardown(() => log.stop())
  for (const n of [1, 2, 3]) await base.db.tenant(a, (tx) => auditAll(tx, [done(n), done(n * 10)]))
  await base.db.tenant(b, (tx) => audit(tx, done(1)))
  const started = systemClock.monotonic()
  await until(async () => (await log.verify({ tenantId: a })).sealedThrough === 6, 'all rows are sealed')
  t.ok(systemClock.monotonic() - started < 1000, 'within a second')
  const subjects = await base.sql`
    select e.subject from audit.seal s join audit.entry e on e.id = s.entry_id where s.tenant_id = ${a} order by s.seq`
  t.strictSame(
    subjects.map((row) => row.subject),
    [1, 10, 2, 20, 3, 30].map((n) => `note:${n}`)
  )
  await until(async () => (await log.verify({ tenantId: b })).sealedThrough === 1, "b's chain is its own")
  t.match(await log.verify({ tenantId: a }), { ok: true, entries: 6, unsealed: 0, faults: [] })
  t.equal((await base.sql`select 1 from audit.tally`).length, 0, 'no count is left behind')
})

t.test('no transaction waits for another that has audited, and an open one holds up no seal', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations], open: { lockTimeoutMs: 500 } })
  const a = await tenant(base)
  const log = host(base)
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const { promise: audited, resolve: hasAudited } = Promise.withResolvers<void>()
  const slow = base.db.tenant(a, async (tx) => {
    await audit(tx, done(1))
    hasAudited()
    await gate
  })
  await audited
  await base.db.tenant(a, (tx) => audit(tx, done(2)))
  await log.sealer.run()
  t.match(await log.verify({ tenantId: a }), { ok: true, sealedThrough: 1, unsealed: 0 })
  open()
  await slow
  await log.sealer.run()
  t.match(await log.verify({ tenantId: a }), { ok: true, sealedThrough: 2, entries: 2 })
})

t.test('any number of hosts make one chain; a host that dies in a batch leaves it to the others', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations], open: { appPool: 8, systemPool: 8 } })
  const tenants = await Promise.all([1, 2, 3].map(() => tenant(base)))
  const hosts = [1, 2, 3].map(() => host(base))
  const dying = new AuditLog({
    db: {
      ...base.db,
      system: (work) =>
        base.db.system(async (tx) => {
          const result = await work(tx)
          // What it did is undone, as where the process ends before its commit.
          if (!Array.isArray(result)) throw new Error('dead')
          return result
        })
    },
    clock: systemClock,
    keySeed: base.secrets.auditKeySeed
  })
  for (let round = 0; round < 5; round++) {
    const writes = tenants.flatMap((id) =>
      Array.from({ length: 8 }, (_, n) => base.db.tenant(id, (tx) => audit(tx, done(round * 8 + n))))
    )
    await Promise.all([...writes, dying.sealer.run(), ...hosts.map((log) => log.sealer.run())])
  }
  await until(async () => {
    await Promise.all(hosts.map((log) => log.sealer.run()))
    return (await base.sql`select 1 from audit.tally`).length === 0
  }, 'everything is sealed')
  for (const tenantId of tenants) {
    t.match(await hosts[0]?.verify({ tenantId }), { ok: true, sealedThrough: 40, entries: 40, unsealed: 0, faults: [] })
  }
})

t.test('rolled back rows are not missed; rows of a savepoint count where it stays', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations] })
  const a = await tenant(base)
  const log = host(base)
  await base.db.tenant(a, (tx) => audit(tx, done(1)).then(() => Promise.reject(new Error('no')))).catch(() => {})
  await base.db.tenant(a, async (tx) => {
    await audit(tx, done(2))
    await tx.savepoint((inner) => audit(inner, done(3)).then(() => Promise.reject(new Error('no')))).catch(() => {})
    await tx.savepoint((inner) => audit(inner, done(4)))
  })
  await log.sealer.run()
  t.match(await log.verify({ tenantId: a }), { ok: true, entries: 2, sealedThrough: 2 })
})

t.test('what is wrong before the seal goes into the chain as a fault, and the log goes on', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations] })
  const { db, sql } = base
  const a = await tenant(base)
  const errors: string[] = []
  const log = new AuditLog({
    db,
    clock: systemClock,
    keySeed: base.secrets.auditKeySeed,
    log: { ...silentLog, error: (fields) => void errors.push(JSON.stringify(fields)) }
  })
  const asSuperuser = (text: string) =>
    sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx.unsafe(text)
    })

  await t.test('a row that vanished before its seal', async (t) => {
    await db.tenant(a, (tx) => auditAll(tx, [done(1), done(2)]))
    await asSuperuser(`delete from audit.entry where subject = 'note:1'`)
    t.match((await log.verify({ tenantId: a })).faults, [{ seq: null, what: /vanished before it was sealed/ }])
    await log.sealer.run()
    t.match(await log.verify({ tenantId: a }), {
      ok: false,
      sealedThrough: 2,
      faults: [{ seq: 1, what: /row 1 is a fault that the sealer found: row .* vanished/ }]
    })
  })

  await t.test('a row that no transaction counted', async (t) => {
    await asSuperuser(`insert into audit.entry (tenant_id, action, subject) values ('${a}', 'key.stolen', 'key:1')`)
    t.match((await log.verify({ tenantId: a })).faults[1], { seq: null, what: /was written by no transaction/ })
    await asSuperuser(`delete from audit.entry where action = 'key.stolen'`)
  })

  await t.test('a head that this server did not sign is not signed over in silence', async (t) => {
    await asSuperuser(`update audit.seal set hash = sha256(hash) where seq = 2`)
    await db.tenant(a, (tx) => audit(tx, done(3)))
    await log.sealer.run()
    const { faults, sealedThrough } = await log.verify({ tenantId: a })
    t.equal(sealedThrough, 4)
    t.match(faults.at(-1), { seq: 3, what: /the head before, row 2, did not bear this server's signature/ })
  })

  await t.test('a chain that was set back to an earlier head', async (t) => {
    const told = async (what: RegExp) =>
      (await log.verify({ tenantId: a })).faults.some((fault) => what.test(fault.what))
    await asSuperuser(`delete from audit.seal where seq > 2`)
    t.ok(await told(/the chain ends with row 2 and was sealed through row 4/))
    await db.tenant(a, (tx) => audit(tx, done(4)))
    await log.sealer.run()
    t.ok(await told(/the chain ended with row 2 and was sealed through row 4/))
  })
  t.equal(errors.length, 3, 'and the log of the server says so, too')
})

t.test(
  'while a tenant is erased nothing of it is sealed; what is written of it afterwards begins a new chain',
  async (t) => {
    const base = await testDb(t, { rooms: [...coreMigrations] })
    const { db, sql } = base
    const a = await tenant(base)
    const log = host(base)
    await db.tenant(a, (tx) => auditAll(tx, [done(1), done(2)]))
    await log.sealer.run()
    await sql`
    update core.tenants set suspended_at = now(), suspended_by = 'deletion', erase_by = 'owner', erase_at = now()
    where tenant_id = ${a}`
    const operator = { kind: 'operator', id: 'o' } as const
    await db.system((tx) => auditAs(tx, a, operator, { action: 'tenant.erasing', subject: `tenant:${a}` }))
    await log.sealer.run()
    t.equal((await sql`select 1 from audit.seal`).length, 2)
    for (const table of ['audit.entry', 'audit.tally', 'audit.seal']) {
      await db.system((tx) => tx`delete from ${tx(table)} where tenant_id = ${a}`)
    }
    await sql`update core.tenants set erased_at = now() where tenant_id = ${a}`
    await db.system((tx) => auditAs(tx, a, operator, { action: 'tenant.asked_for', subject: `tenant:${a}` }))
    await log.sealer.run()
    t.strictSame(
      (await sql`select seq::int, fault from audit.seal`).map((row) => ({ ...row })),
      [{ seq: 1, fault: null }]
    )
  }
)
