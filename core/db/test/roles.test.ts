import t from 'tap'
import { deriveSecrets, loginUrl, migrate } from '#core/db/index.ts'
import { testSecret } from '#test/support/cluster.ts'
import { adminConnection, coreDbRoom, emptyDb, testDb } from '#test/support/db.ts'
import { makeNotes, tenantA } from './notes.ts'

const { db, sql, appUrl, systemUrl } = await testDb(t)
await makeNotes(sql)

for (const [role, url] of [
  ['agentos_app', appUrl],
  ['agentos_system', systemUrl]
] as const) {
  t.test(`${role} can do nothing but its verbs`, async (t) => {
    const login = adminConnection(url)
    t.teardown(() => login.end())
    t.equal((await login`select current_user as name`)[0]?.name, role)
    const denied = { code: '42501' }
    for (const statement of [
      'truncate lab.note',
      'create table lab.mine (tenant_id uuid, id uuid, foreign key (tenant_id, id) references lab.note)',
      'create table public.mine (id int)',
      'create temporary table note (id int)',
      'create schema mine',
      'create trigger x after insert on lab.note execute function suppress_redundant_updates_trigger()',
      'alter table lab.note disable row level security',
      'alter table lab.note no force row level security',
      'drop policy own_tenant on lab.note',
      'create index on lab.note (text)',
      'drop table lab.note',
      'create function core.tenant() returns uuid language sql as $$ select null::uuid $$',
      "call core.isolate('lab.note', 'select')",
      "call core.system_access('lab.note', 'select')",
      'select * from core.migration',
      'select * from core.installation',
      "update core.installation set secret_check = ''",
      'set role agentos_owner',
      'create role mine',
      "copy lab.note to program 'true'",
      "select pg_read_file('postgresql.conf')"
    ]) {
      const answer = await login.unsafe(statement).then(
        () => 'done',
        (error) => error
      )
      t.match(answer, denied, statement)
    }
    const [held] = await sql`
      select bool_or(has_table_privilege(${role}, 'lab.note', verb || ' with grant option')) as grants
      from unnest(array['select', 'insert', 'update', 'delete']) verb`
    t.equal(held?.grants, false)
  })
}

t.test('only our logins connect to the database', async (t) => {
  const [row] = await sql`
    select bool_or(acl.grantee = 0) as public from pg_database, aclexplode(datacl) acl where datname = current_database()`
  t.equal(row?.public, false)
})

t.test('large objects, which belong to no tenant, are nobody`s to make or read', async (t) => {
  const { url } = await emptyDb(t)
  await migrate({ url, rooms: [coreDbRoom], secret: testSecret })
  const { appPassword } = deriveSecrets(testSecret)
  const app = adminConnection(loginUrl(url, 'agentos_app', appPassword))
  t.teardown(() => app.end({ timeout: 1 }))
  for (const call of [`lo_from_bytea(0, 'for the next tenant')`, 'lo_creat(-1)', 'lo_get(1)', 'loread(0, 1)'])
    await t.rejects(app.unsafe(`select ${call}`), { code: '42501' }, call)
})

t.test('a pool whose login passes row level security is refused', async (t) => {
  const { openDb } = await import('#core/db/index.ts')
  const { url, secrets } = await testDb(t)
  const { tenantHmacKey } = secrets
  await t.rejects(openDb({ appUrl: systemUrl, systemUrl, tenantHmacKey }), { message: /wrong_role agentos_system/ })
  await t.rejects(openDb({ appUrl: url, systemUrl: url, tenantHmacKey }), {
    code: 'DB_ISOLATION_BROKEN',
    message: /role_bypass/
  })
})

t.test('what a violated constraint says reaches the caller as it is', async (t) => {
  const work = db.tenant(tenantA, async (tx) => {
    const [row] = await tx`insert into lab.note (text) values ('x') returning id`
    await tx`insert into lab.note (id) values (${row?.id})`
  })
  await t.rejects(work, { name: 'PostgresError', code: '23505', constraint_name: 'note_pkey' })
})
