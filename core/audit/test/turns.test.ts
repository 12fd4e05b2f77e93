import t from 'tap'
import { audit, auditAll } from '#core/audit/audit.ts'
import { AuditLog } from '#core/audit/service.ts'
import { waitingTenants } from '#core/audit/store/seal.ts'
import { systemClock } from '#core/clock.ts'
import { silentLog } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { type TestDb, testDb } from '#test/support/db.ts'

const done = (n: number) => ({ action: 'note.written', subject: `note:${n}` })

async function tenant({ sql }: TestDb, id = newId()): Promise<string> {
  await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${id}, 'x', ${`t-${id}`}, 'pro')`
  return id
}

t.test('no login of a tenant holds up its seal; whoever does is told of after a minute', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations], open: { appPool: 4, systemPool: 4 } })
  const { db, sql } = base
  const a = await tenant(base)
  const said: string[] = []
  const log = new AuditLog({
    db,
    clock: systemClock,
    keySeed: base.secrets.auditKeySeed,
    log: { ...silentLog, warn: (fields, text) => void said.push(`${text} ${JSON.stringify(fields)}`) }
  })
  await db.tenant(a, (tx) => audit(tx, done(1)))
  await db.tenant(a, async (tx) => {
    await tx`select pg_advisory_lock(hashtextextended('audit.seal|' || ${a}, 0))`
    await log.sealer.run()
    await tx`select pg_advisory_unlock_all()`
  })
  t.match(await log.verify({ tenantId: a }), { ok: true, sealedThrough: 1 })
  for (const take of [
    'select * from audit.chain for update',
    'select * from audit.chain for key share',
    'lock table audit.chain in access share mode'
  ]) {
    await t.rejects(
      db.tenant(a, (tx) => tx.unsafe(take)),
      { code: '42501' },
      take
    )
  }
  await db.tenant(a, (tx) => audit(tx, done(2)))
  const held = (work: () => Promise<void>) =>
    db.system(async (tx) => {
      await tx`select from audit.chain where tenant_id = ${a} for update`
      await work()
    })
  await held(() => log.sealer.run())
  t.strictSame(said, [], 'another host may be at it')
  await sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx`update audit.entry set at = at - interval '61 s' where subject = 'note:2'`
  })
  await held(async () => {
    await log.sealer.run()
    await log.sealer.run()
  })
  t.equal(said.length, 1, 'once in a minute')
  t.match(said[0], new RegExp(`another session holds its chain .*${a}`))
  await log.sealer.run()
  t.match(await log.verify({ tenantId: a }), { ok: true, sealedThrough: 2 })
})

t.test('a log of many pages is looked at to its end, and a tenant behind many others gets its turn', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations] })
  const { db, sql } = base
  const ids = [await tenant(base), await tenant(base), await tenant(base)].toSorted()
  const [a = ''] = ids
  const log = new AuditLog({ db, clock: systemClock, keySeed: base.secrets.auditKeySeed, idsAtOnce: 3 })
  await db.tenant(a, (tx) => auditAll(tx, [1, 2, 3, 4, 5].map(done)))
  t.match(await log.verify({ tenantId: a }), { ok: true, entries: 5, unsealed: 5 })
  await log.sealer.run()
  await db.tenant(a, (tx) => audit(tx, done(6)))
  t.match(await log.verify({ tenantId: a }), { ok: true, sealedThrough: 5, entries: 6, unsealed: 1 })
  await sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx`insert into audit.entry (tenant_id, action, subject) values (${a}, 'key.stolen', 'key:1')`
  })
  t.match(await log.verify({ tenantId: a }), {
    ok: false,
    unsealed: 2,
    faults: [{ what: /written by no transaction/ }]
  })
  for (const id of ids) await db.tenant(id, (tx) => audit(tx, done(1)))
  const after = (id: string | null) => db.system((tx) => waitingTenants(tx, id, 2))
  t.strictSame([await after(null), await after(ids[1] ?? '')], [ids.slice(0, 2), ids.slice(2)])
})

t.test('a tenant that cannot be sealed is left alone for longer each time, the others are sealed', async (t) => {
  const base = await testDb(t, { rooms: [...coreMigrations] })
  const { db, sql } = base
  const [bad, good] = [await tenant(base), await tenant(base)]
  const waits: unknown[] = []
  let now = 0
  const log = new AuditLog({
    db,
    clock: { ...systemClock, monotonic: () => now },
    keySeed: base.secrets.auditKeySeed,
    log: { ...silentLog, warn: (fields) => void waits.push('pauseMs' in fields && fields.pauseMs) }
  })
  await sql.unsafe(`alter table audit.seal add constraint broken check (tenant_id <> '${bad}')`)
  for (const id of [bad, good]) await db.tenant(id, (tx) => audit(tx, done(1)))
  for (const at of [0, 999, 1000, 2999, 3000]) {
    now = at
    await log.sealer.run()
  }
  t.strictSame(waits, [1000, 2000, 4000])
  t.equal((await log.verify({ tenantId: good })).sealedThrough, 1)
  await sql`alter table audit.seal drop constraint broken`
  now = 7000
  await log.sealer.run()
  t.equal((await log.verify({ tenantId: bad })).sealedThrough, 1)
})
