import t from 'tap'
import { IsolationBroken } from '#core/db/errors.ts'
import { migrate } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import { readCatalogue } from './support/catalogue.ts'
import { allRooms, fullDb, superSession } from './support/full-db.ts'
import { prepareDigest, runGroup } from './support/matrix.ts'
import { count } from './support/proof.ts'
import { seed, tenantA } from './support/seed.ts'

const tenant = 'tenant_id uuid not null default core.tenant()'
const file = 'create schema stranger;'

// What somebody's migration may bring without a thought of tenants: [what, SQL, the rule that it breaks]
const leaks: [string, string, string][] = [
  ['a table without tenancy', `create table stranger.note (id uuid primary key, text text)`, 'rls_off'],
  [
    'a table with a tenant and no policy',
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id))`,
    'rls_off'
  ],
  [
    'a table open to agentos_app',
    `create table stranger.note (${tenant}); grant select on stranger.note to agentos_app`,
    'no_tenant_policy'
  ],
  [
    'a table whose policy is almost right',
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id)); call core.close_table('stranger.note');
     create policy own on stranger.note to agentos_app using (tenant_id = core.tenant() or id is null); grant select on stranger.note to agentos_app`,
    'no_tenant_policy'
  ],
  [
    'a table that others read',
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id)); call core.isolate_shared('stranger.note', 'select', 'true')`,
    'shared_read'
  ],
  ['a view', 'create view stranger.everything as select * from pulse.session', 'view_not_invoker'],
  [
    'a function with the rights of its owner',
    `create function stranger.peek() returns bigint language sql security definer as 'select count(*) from pulse.session'`,
    'secdef_callable'
  ],
  [
    'a trigger function with the rights of its owner',
    `create function stranger.spread() returns trigger language plpgsql security definer as 'begin return null; end';
     revoke execute on function stranger.spread() from public;
     create trigger spread after insert on core.api_key for each row execute function stranger.spread()`,
    'secdef_trigger'
  ],
  [
    'a unique index that only carries the tenant along',
    `create table stranger.note (${tenant}, id uuid, email text, primary key (tenant_id, id), unique (email) include (tenant_id));
     call core.isolate('stranger.note', 'select, insert')`,
    'unique_without_tenant'
  ],
  [
    'an exclusion across tenants',
    `create table stranger.note (${tenant}, id uuid, email text, primary key (tenant_id, id), exclude using hash (email with =));
     call core.isolate('stranger.note', 'select, insert')`,
    'unique_without_tenant'
  ],
  [
    'a materialized view',
    'create materialized view stranger.totals as select 1 as n; grant select on stranger.totals to agentos_app',
    'matview_readable'
  ],
  [
    'a rule',
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id)); call core.isolate('stranger.note', 'select, insert');
     create rule also as on insert to stranger.note do also delete from core.journal`,
    'rewrite_rule'
  ],
  [
    'a sequence that shows how much goes on',
    'create sequence stranger.counter; grant usage on sequence stranger.counter to agentos_app',
    'seq_readable'
  ],
  [
    'rights on whatever is made later',
    'alter default privileges in schema stranger grant select on tables to agentos_app',
    'default_privileges'
  ],
  [
    "rows shown by a user's claim, without membership",
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id)); call core.isolate('stranger.note', 'select');
     create policy claimed on stranger.note for select to authenticated using (tenant_id::text = current_setting('request.jwt.claims')::jsonb ->> 'tenant_id')`,
    'member_policy'
  ],
  [
    'a table that members write past the server',
    `create table stranger.note (${tenant}, id uuid, primary key (tenant_id, id)); call core.isolate('stranger.note', 'select');
     call core.member_read('stranger.note'); grant insert on stranger.note to authenticated`,
    'member_write'
  ],
  [
    'a check that checks nothing',
    `create or replace function core.tenant() returns uuid language plpgsql stable security definer as 'begin return core.tenant_setting(); end'`,
    'tenant_unchecked'
  ],
  ['the key of the signatures', 'grant select on core.tenant_key to agentos_app', 'tenant_key_open']
]

let stopped = 0
// One database for all: what a refused boot leaves is taken out again.
const { url: shared, secret: common, sql: admin } = await fullDb(t)
const [check] = await admin<{ source: string }[]>`
  select pg_get_functiondef('core.tenant()'::regprocedure) as source`
const clean = `drop schema stranger cascade; delete from core.migration where room = 'stranger';
  revoke all on core.tenant_key from agentos_app; ${check?.source}`
for (const [what, sql, rule] of leaks) {
  t.test(`a stranger's migration with ${what} stops the boot`, async (t) => {
    t.teardown(() => admin.unsafe(clean))
    const dir = new URL(`file://${t.testdir({ '0001_stranger.sql': `${file}\n${sql};\n` })}/`)
    const booting = migrate({ url: shared, secret: common, rooms: [...allRooms, { name: 'stranger', dir }] })
    const refused = await booting.then(
      () => undefined,
      (error) => error
    )
    t.ok(refused instanceof IsolationBroken, String(refused))
    t.match(JSON.stringify(refused?.details), `"${rule}"`)
    if (refused instanceof IsolationBroken) stopped++
  })
}
t.test('no leak was let through', async (t) => {
  t.equal(stopped, leaks.length)
  count(t, 'strangers', { 'leaks planted by a migration': leaks.length, 'boots stopped': stopped })
})

t.test("a stranger's allow list silences the lint and not the matrix", async (t) => {
  const { url, secret } = await fullDb(t)
  const allowed = ['rls_off', 'no_tenant_policy', 'no_tenant_id', 'default_checked'].map((rule) => ({
    rule,
    object: 'stranger.*',
    reason: 'we know what we do'
  }))
  const dir = new URL(
    `file://${t.testdir({
      '0001_stranger.sql': `${file} create table stranger.note (${tenant}, id uuid primary key, text text not null);
        grant usage on schema stranger to agentos_app; grant select, insert, update, delete on stranger.note to agentos_app;`,
      'lint-allow.json': JSON.stringify([
        ...allowed,
        { rule: 'unique_without_tenant', object: 'stranger.*', reason: 'we know what we do' }
      ])
    })}/`
  )
  await migrate({ url, secret, rooms: [...allRooms, { name: 'stranger', dir }] })
  const faults = await faultsOf(t, url, 'stranger.note')
  t.ok(faults.includes('stranger.note | agentos_app | own | select: expected 42501, got 5'))
  t.ok(faults.some((fault) => fault.includes('| update theirs')))
})

t.test("a stranger's own table is in the matrix by itself, without an entry anywhere", async (t) => {
  const { url, sql } = await fullDb(t)
  await sql.unsafe(`${file} create table stranger.parent (${tenant}, id uuid not null, primary key (tenant_id, id));
    create table stranger.note (${tenant}, id uuid not null, parent uuid not null, n int not null, at timestamptz not null, text text,
      primary key (tenant_id, id), foreign key (tenant_id, parent) references stranger.parent (tenant_id, id));
    call core.isolate('stranger.parent', 'select, insert'); call core.isolate('stranger.note', 'select, insert, update, delete')`)
  t.strictSame(await faultsOf(t, url, 'stranger.note'), [])
})

t.test('a table that the seeder cannot fill is red, not left out', async (t) => {
  const { url, sql } = await fullDb(t)
  await sql.unsafe(`${file} create table stranger.note (${tenant}, id uuid not null, kind text not null check (kind in ('a', 'b')), primary key (tenant_id, id));
    call core.isolate('stranger.note', 'select')`)
  const session = await superSession(t, url)
  const { missing } = await seed(session, await readCatalogue(session))
  session.release()
  t.match(missing.join('\n'), /stranger\.note: .*note_kind_check/)
  t.match(missing.join('\n'), `stranger.note: no row of "${tenantA}"`)
})

async function faultsOf(t: Parameters<typeof fullDb>[0], url: string, name: string): Promise<string[]> {
  const session = await superSession(t, url)
  const seeded = await seed(session, await readCatalogue(session))
  const table = must(
    seeded.tables.find((one) => one.name === name),
    name
  )
  await prepareDigest(session, seeded.tables)
  await session.unsafe('begin')
  const { faults } = await runGroup(session, seeded, table, 'agentos_app', 'own')
  await session.unsafe('rollback')
  session.release()
  return [...seeded.missing, ...faults]
}
