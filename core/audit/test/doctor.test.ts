import t, { type Test } from 'tap'
import { audit, auditAll } from '#core/audit/audit.ts'
import { auditChecks } from '#core/audit/doctor.ts'
import { systemClock } from '#core/clock.ts'
import { must } from '#core/must.ts'
import { testApp } from '#test/support/app.ts'

const server = await testApp(t)
const { app, db, sql } = server
const { tenantId } = await server.makeTenant()
const checks = auditChecks(db, app.audit, systemClock)
const line = async (name: string) =>
  await must(
    checks.find((check) => check.name === name),
    name
  ).run()

const asSuperuser = (text: string) =>
  `set session_replication_role = replica; ${text}; set session_replication_role = origin`

/** The line is as it was again when what was broken is mended. */
async function broken(t: Test, name: string, breaks: string, mends: string, says: RegExp): Promise<void> {
  await sql.unsafe(breaks)
  const verdict = await line(name)
  await sql.unsafe(mends)
  t.match(verdict, { ok: false, detail: says, fix: /./ }, breaks)
  t.equal((await line(name)).ok, true, mends)
}

t.test('the doctor of every app asks all three', async (t) => {
  const names = app.doctor.groups().find(({ group }) => group === 'tenancy')?.checks ?? []
  t.strictSame(
    checks.map(({ name }) => name).filter((name) => !names.includes(name)),
    []
  )
})

t.test('a hole in "append only" turns its line red', async (t) => {
  const name = 'audit.append-only'
  t.match(await line(name), { ok: true })
  const [app, system] = ['agentos_app', 'agentos_system']
  await broken(
    t,
    name,
    `grant update on audit.entry to ${app}`,
    `revoke update on audit.entry from ${app}`,
    /agentos_app may update audit.entry/
  )
  await broken(
    t,
    name,
    `grant update (subject) on audit.entry to ${app}`,
    `revoke update (subject) on audit.entry from ${app}`,
    /agentos_app may update audit.entry/
  )
  await broken(
    t,
    name,
    `grant select on audit.chain to ${app}`,
    `revoke select on audit.chain from ${app}`,
    /agentos_app may select audit.chain/
  )
  await broken(
    t,
    name,
    `alter table audit.tally disable trigger check_tally`,
    `alter table audit.tally enable trigger check_tally`,
    /may change what it counted/
  )
  await broken(
    t,
    name,
    `grant delete on audit.seal to ${app}`,
    `revoke delete on audit.seal from ${app}`,
    /may delete audit.seal/
  )
  await broken(
    t,
    name,
    `grant truncate on audit.entry to ${system}`,
    `revoke truncate on audit.entry from ${system}`,
    /may truncate/
  )
  for (const table of ['audit.entry', 'audit.seal']) {
    for (const trigger of ['append_only', 'append_only_all']) {
      const alter = (how: string) => `alter table ${table} ${how} trigger ${trigger}`
      await broken(
        t,
        name,
        alter('disable'),
        alter('enable'),
        new RegExp(`trigger ${trigger} of ${table} is missing or off`)
      )
    }
  }
  const alter = (how: string) => `alter table audit.entry ${how} trigger count_entry`
  await broken(t, name, alter('disable'), alter('enable'), /not counted/)
  const definition = (await sql`select pg_get_functiondef('audit.refuse_change'::regproc) as text`)[0]?.text
  const harmless = `create or replace function audit.refuse_change() returns trigger language plpgsql as 'begin return old; end'`
  await broken(t, name, harmless, definition, /missing or off/)
})

t.test('rows that wait for their seal turn the line red after ten seconds', async (t) => {
  await db.tenant(tenantId, (tx) =>
    auditAll(
      tx,
      [1, 2, 3].map((n) => ({ action: 'note.written', subject: `note:${n}` }))
    )
  )
  t.match(await line('audit.sealed'), { ok: true, detail: /1 transactions wait/ })
  const age = (by: string) => asSuperuser(`update audit.entry set at = at - interval '${by}'`)
  await broken(t, 'audit.sealed', age('11 s'), age('-11 s'), /the oldest for 11\.\d s/)
  await app.audit.sealer.run()
  t.match(await line('audit.sealed'), { ok: true, detail: /^0 transactions/ })
})

t.test('a chain that does not hold turns the line red and names tenant and row', async (t) => {
  const notes = Array.from({ length: 301 }, (_, n) => ({ action: 'note.written', subject: `n:${n}` }))
  await db.tenant(tenantId, (tx) => auditAll(tx, notes))
  await app.audit.sealer.run()
  t.match(await line('audit.chain'), { ok: true, detail: '1 of 1 chains' })
  const rename = (from: string, to: string) =>
    asSuperuser(`update audit.entry set subject = '${to}' where subject = '${from}'`)
  const said = new RegExp(`1 broken; looked at 1 of 1 chains.*${tenantId}: row 303 .*not what was sealed`)
  await broken(t, 'audit.chain', rename('n:299', 'n:x'), rename('n:x', 'n:299'), said)
  const [head] = await sql`select encode(signature, 'hex') as hex from audit.seal where seq = 304`
  const sign = (value: string) => asSuperuser(`update audit.seal set signature = ${value} where seq = 304`)
  const mend = sign(`decode('${head?.hex}', 'hex')`)
  await broken(t, 'audit.chain', sign(`sha256('a') || sha256('b')`), mend, /signature of the head \(row 304\)/)
})

t.test('rows that nobody counted, and counts without their row, turn the line red', async (t) => {
  const insert = `insert into audit.entry (tenant_id, action, subject) values ('${tenantId}', 'key.stolen', 'key:1')`
  const stolen = `delete from audit.entry where action = 'key.stolen'`
  await broken(t, 'audit.chain', asSuperuser(insert), asSuperuser(stolen), /was written by no transaction/)
  const count = `insert into audit.tally (tenant_id, entry_ids) values ('${tenantId}', array[gen_random_uuid()])`
  await broken(t, 'audit.chain', asSuperuser(count), 'delete from audit.tally', /vanished before it was sealed/)
})

t.test('where time is too short for all chains the line says so, and the next run goes on', async (t) => {
  const other = await server.makeTenant()
  await db.tenant(other.tenantId, (tx) => audit(tx, { action: 'note.written', subject: 'note:1' }))
  let now = 0
  const slow = { ...systemClock, monotonic: () => now++ }
  const check = must(
    auditChecks(db, app.audit, slow, 2).find(({ name }) => name === 'audit.chain'),
    'audit.chain'
  )
  const rename = (from: string, to: string) =>
    sql.unsafe(asSuperuser(`update audit.entry set subject = '${to}' where subject = '${from}'`))
  await rename('n:299', 'n:x')
  const said = [await check.run(), await check.run()]
  await rename('n:x', 'n:299')
  t.match(said, [
    { ok: false, detail: new RegExp(`looked at 1 of 2 chains; tenant ${tenantId}`) },
    { ok: true, detail: '1 of 2 chains' }
  ])
  await sql`delete from audit.tally where tenant_id = ${other.tenantId}`
})

t.test('a fault that the sealer found stays red', async (t) => {
  await db.tenant(tenantId, (tx) => audit(tx, { action: 'note.written', subject: 'note:gone' }))
  await sql.unsafe(asSuperuser(`delete from audit.entry where subject = 'note:gone'`))
  await app.audit.sealer.run()
  t.match(await line('audit.chain'), { ok: false, detail: /row 305 is a fault that the sealer found/ })
  await db.tenant(tenantId, (tx) =>
    auditAll(
      tx,
      Array.from({ length: 120 }, () => ({ action: 'a.b', subject: 'c' }))
    )
  )
  await app.audit.sealer.run()
  t.match(await line('audit.chain'), { ok: false, detail: /1 faults are sealed in it/ }, 'also behind the last rows')
})
