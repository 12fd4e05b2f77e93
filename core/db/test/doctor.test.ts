import t, { type Test } from 'tap'
import { tenancyChecks } from '#core/db/doctor.ts'
import type { Db, Tx } from '#core/db/types.ts'
import { judgeVersion } from '#core/db/version.ts'
import { coreMigrations } from '#core/migrations.ts'
import { must } from '#core/must.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { testDb } from '#test/support/db.ts'
import { asOwner, makeNotes } from './notes.ts'

const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
await makeNotes(sql)
const line = async (name: string, given: Db = db) =>
  await must(
    tenancyChecks(given, coreMigrations).find((check) => check.name === name),
    name
  ).run()

/** Breaks, looks, mends: the line is red with a reason and a way out, and green again. */
async function turns(t: Test, name: string, breaks: string, mends: string, says: RegExp): Promise<void> {
  await asOwner(sql, breaks)
  const red = await line(name)
  await asOwner(sql, mends)
  t.match(red, { ok: false, detail: says, fix: /./ }, breaks)
  t.equal((await line(name)).ok, true, mends)
}

t.test('without a tenant nobody can say what others see; with one all lines are green', async (t) => {
  t.match(await line('rows.foreign'), { ok: 'unknown' })
  const { id } = await db.system((tx) => createTenant(tx, { name: 'one', slug: 'one', plan: 'pro' }))
  await db.tenant(id, (tx) => tx`insert into lab.note (text) values ('mine')`)
  for (const check of tenancyChecks(db, coreMigrations)) {
    const { ok, detail } = await check.run()
    t.equal(ok, true, `${check.name}: ${detail}`)
  }
})

t.test('a table without row level security, or whose owner is not bound, turns its line red', async (t) => {
  const change = (what: string) => `alter table lab.note ${what} row level security`
  await turns(t, 'rls.forced', change('disable'), change('enable'), /rls_off lab\.note/)
  await turns(t, 'rls.forced', change('no force'), change('force'), /rls_not_forced lab\.note/)
})

t.test('a weakened policy, a view, a grant turn their line red', async (t) => {
  const policy = (text: string) => `alter policy own_tenant on lab.note using (${text}) with check (${text})`
  const own = 'tenant_id = (select core.tenant())'
  await turns(t, 'policies.lint', policy(`${own} or published`), policy(own), /no_tenant_policy lab\.note select/)
  await turns(
    t,
    'policies.lint',
    'create view lab.everything as select * from lab.note',
    'drop view lab.everything',
    /view_not_invoker lab\.everything/
  )
  await turns(
    t,
    'policies.lint',
    'grant truncate on lab.note to agentos_app',
    'revoke truncate on lab.note from agentos_app',
    /priv_truncate lab\.note agentos_app/
  )
})

t.test('a core.tenant() that takes what is not signed turns its line red', async (t) => {
  const [check] = await sql<{ source: string }[]>`select pg_get_functiondef('core.tenant()'::regprocedure) as source`
  const honest = must(check, 'core.tenant()').source
  const weak = (to: string) => honest.replace('and signature operator', to)
  await turns(t, 'hmac.enforced', weak('and true or signature operator'), honest, /another tenant.*no signature/)
  await turns(t, 'hmac.enforced', weak(`and member = '' or signature operator`), honest, /other claims/)
  await sql`update core.tenant_key set inner_pad = outer_pad`
  await t.rejects(line('hmac.enforced'), /not signed/, 'also where the server signs with another key')
})

t.test('a table whose rows others see turns its line red, whatever the policies are called', async (t) => {
  const fresh = await testDb(t, { rooms: [...coreMigrations] })
  await makeNotes(fresh.sql)
  const { id } = await fresh.db.system((tx) => createTenant(tx, { name: 'one', slug: 'one', plan: 'pro' }))
  await fresh.db.tenant(id, (tx) => tx`insert into lab.note (text) values ('mine')`)
  t.equal((await line('rows.foreign', fresh.db)).ok, true)
  await asOwner(fresh.sql, 'alter policy own_tenant on lab.note using (core.tenant_setting() is not null)')
  t.match(await line('rows.foreign', fresh.db), { ok: false, detail: /lab\.note/, fix: /core\.isolate/ })
})

// Roles belong to the cluster, where other tests run: what is broken is not committed, and the line looks from inside.
for (const [breaks, says] of [
  ['alter role agentos_app bypassrls', /agentos_app passes row level security/],
  ['alter role agentos_system superuser', /agentos_system is superuser/],
  ['alter role agentos_owner login', /agentos_owner logs in/],
  ['grant agentos_owner to agentos_app', /agentos_app may become agentos_owner/],
  ['grant agentos_system to agentos_app', /agentos_app may become agentos_system/],
  ['alter role authenticated bypassrls', /authenticated passes row level security/]
] as const) {
  t.test(`"${breaks}" turns its line red`, async (t) => {
    t.match(await line('roles.bound'), { ok: true })
    const undo = new Error('undo')
    const broken = sql.begin(async (tx) => {
      await tx.unsafe(breaks)
      await tx.unsafe('set local session authorization agentos_system')
      const inside: Db = { ...db, system: <T>(work: (inner: Tx) => Promise<T>) => work(tx) }
      t.match(await line('roles.bound', inside), { ok: false, detail: says, fix: /./ })
      throw undo
    })
    await t.rejects(broken, undo)
  })
}

t.test('a release with a known leak turns its line red', async (t) => {
  t.match(await line('postgres.patched'), { ok: true })
  const said = [140022, 150013, 150014, 160009, 160010, 170005, 170006, 180000, 190001].map((number) => {
    const { name, needs } = judgeVersion(number)
    return `${name} ${needs ?? 'good'}`
  })
  t.strictSame(said, [
    '14.22 15.14',
    '15.13 15.14',
    '15.14 good',
    '16.9 16.10',
    '16.10 good',
    '17.5 17.6',
    '17.6 good',
    '18.0 good',
    '19.1 good'
  ])
  const old = async <T>(work: (inner: Tx) => Promise<T>) => work((async () => [{ number: 170004 }]) as unknown as Tx)
  t.match(await line('postgres.patched', { ...db, system: old }), { ok: false, detail: /CVE-2025-8713/, fix: /17\.6/ })
})
