import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { deriveSecrets, loginUrl, migrate, openDb, silentLog, startEmbeddedPostgres } from '#core/db/index.ts'
import type { Pool } from '#core/db/types.ts'
import { coreMigrations } from '#core/migrations.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { onEmbedded, testSecret } from '#test/support/cluster.ts'
import { adminConnection, coreDbRoom, emptyDb, onDatabase, testDb } from '#test/support/db.ts'

const ann = '018f0000-0000-7000-8000-0000000000a1'
const bob = '018f0000-0000-7000-8000-0000000000b1'

/** What the role authenticated gets, as PostgREST asks: role and claims of one transaction. */
function asUser(sql: Pool, claims: string | null, text: string): Promise<unknown> {
  const work = sql.begin(async (tx) => {
    if (claims !== null) await tx`select set_config('request.jwt.claims', ${claims}, true)`
    await tx.unsafe('set local session authorization authenticated')
    const rows = await tx.unsafe<{ it: string }[]>(text)
    return rows.map(({ it }) => it).sort()
  })
  return work.catch((error) => error.code)
}
const claimsOf = (sub: string, more: object = {}) => JSON.stringify({ sub, role: 'authenticated', ...more })

t.test('a user sees the tenants whose member they are, and who else is', async (t) => {
  const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
  const [one, two, three] = await db.system((tx) =>
    Promise.all(['one', 'two', 'three'].map((slug) => createTenant(tx, { name: slug, slug, plan: 'pro' })))
  )
  const member = async (tenant: { id: string } | undefined, user: string) =>
    sql`insert into core.member (tenant_id, user_id, role) values (${tenant?.id ?? ''}, ${user}, 'member')`
  await Promise.all([member(one, ann), member(two, ann), member(two, bob), member(three, bob)])
  const tenants = 'select slug as it from core.tenants'
  const members = 'select user_id as it from core.member'

  t.strictSame(await asUser(sql, claimsOf(ann), tenants), ['one', 'two'])
  t.strictSame(await asUser(sql, claimsOf(bob), tenants), ['three', 'two'])
  t.strictSame(await asUser(sql, claimsOf(ann), members), [ann, ann, bob])
  t.strictSame(await asUser(sql, claimsOf('018f0000-0000-7000-8000-0000000000c1'), tenants), [], 'a member of nothing')
  for (const claims of [null, '', '{}', '{"sub": null}'])
    t.strictSame(await asUser(sql, claims, tenants), [], `nobody: ${claims}`)
  const claimed = claimsOf(ann, { tenant_id: three?.id, tenants: [three?.id] })
  t.strictSame(await asUser(sql, claimed, tenants), ['one', 'two'], 'a claim of a tenant is no membership')
  t.equal(await asUser(sql, '{"sub": "x"}', tenants), '22P02', 'as on Supabase')
  const settings = `select set_config('agentos.tenant', '${three?.id}', true) as it`
  await t.resolves(asUser(sql, claimsOf(ann), settings), 'the settings of agentos_app are nothing to it')

  for (const text of [
    `update core.tenants set name = 'mine'`,
    `delete from core.member`,
    `insert into core.member (tenant_id, user_id, role) values ('${three?.id}', '${ann}', 'owner')`,
    'select id as it from core.api_key',
    'select core.tenant()::text as it',
    'select inner_pad as it from core.tenant_key',
    'set local role agentos_app',
    'truncate core.member'
  ])
    t.equal(await asUser(sql, claimsOf(ann), text), '42501', text)
  for (const column of ['email', 'platform'])
    t.equal(await asUser(sql, claimsOf(ann), `select ${column}::text as it from core.member`), '42501', column)
  for (const column of ['settings', 'suspended_reason', 'agent_limit'])
    t.equal(await asUser(sql, claimsOf(ann), `select ${column}::text as it from core.tenants`), '42501', column)
  await sql`update core.tenants set suspended_at = now(), suspended_by = 'platform' where tenant_id = ${two?.id ?? ''}`
  t.strictSame(await asUser(sql, claimsOf(ann), tenants), ['one'], 'a suspended tenant is shut here too')
  t.strictSame(await asUser(sql, claimsOf(bob), members), [bob], 'and who is in it')
  await sql`update core.tenants set suspended_at = null, suspended_by = null where tenant_id = ${two?.id ?? ''}`
  await sql`delete from core.member where user_id = ${ann} and tenant_id = ${one?.id ?? ''}`
  t.strictSame(await asUser(sql, claimsOf(ann), tenants), ['two'], 'who is taken out sees it at once no more')
})

t.test('auth.uid() is provided where there is none, and says what Supabase says', async (t) => {
  const { sql } = await testDb(t)
  const uid = async (name: string, value: string) =>
    sql.begin(async (tx) => {
      await tx`select set_config(${name}, ${value}, true)`
      return (await tx`select auth.uid() as id`)[0]?.id
    })
  t.equal(await uid('request.jwt.claims', claimsOf(ann)), ann)
  t.equal(await uid('request.jwt.claim.sub', bob), bob)
  t.equal(await uid('request.jwt.claims', ''), null)
})

/** What a Supabase project has before we come: its own auth, tables of others that no rule of ours is about. */
const supabase = `
  create schema auth; create schema storage; create schema extensions;
  grant usage on schema auth, storage, public to authenticated;
  create table auth.users (id uuid primary key, email text);
  create function auth.uid() returns uuid language sql stable as
    $$ select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
       nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
  create function storage.search() returns bigint language sql security definer as 'select count(*) from auth.users';
  create table storage.objects (id uuid primary key, name text); alter table storage.objects enable row level security;
  create policy anyone on storage.objects for select to authenticated using (true);
  grant all on storage.objects to authenticated;
  create table public.todo (id int primary key); grant all on public.todo to authenticated;
  alter default privileges in schema public grant all on tables to authenticated`

t.test('a Supabase-like database is migrated: what it has stays as it is, and is used', async (t) => {
  await testDb(t) // the role authenticated of the cluster
  const { url } = await emptyDb(t)
  const sql = adminConnection(url, 2)
  t.teardown(() => sql.end({ timeout: 1 }))
  await sql.unsafe(supabase)
  const source = async () => (await sql`select pg_get_functiondef('auth.uid()'::regprocedure) as text`)[0]?.text
  const before = await source()
  await t.resolves(migrate({ url, rooms: [...coreMigrations], secret: testSecret }))
  t.equal(await source(), before)
  t.equal(
    (await sql`select prosrc from pg_proc where oid = 'core.uid()'::regprocedure`)[0]?.prosrc,
    'select auth.uid()'
  )
  await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${ann}, 'one', 'one', 'pro')`
  await sql`insert into core.member (tenant_id, user_id, role) values (${ann}, ${bob}, 'member')`
  t.strictSame(await asUser(sql, claimsOf(bob), 'select slug as it from core.tenants'), ['one'])
  t.strictSame(await asUser(sql, claimsOf(ann), 'select slug as it from core.tenants'), [])
  t.strictSame(await migrate({ url, rooms: [...coreMigrations], secret: testSecret }), { applied: [] })
})

t.test('a login that may not come near schema auth migrates too: who asks is read from the claims', async (t) => {
  await testDb(t)
  const { url, name } = await emptyDb(t)
  const sql = adminConnection(url, 2)
  const login = `agentos_test_login_${process.pid}_apart`
  await sql.unsafe(`create schema auth; create function auth.uid() returns uuid language sql as 'select null::uuid';
    create role ${login} login createrole password 'pw'; alter database ${name} owner to ${login}`)
  t.teardown(async () => {
    await sql.unsafe(`reassign owned by ${login} to current_user; drop owned by ${login}; drop role ${login}`)
    await sql.end({ timeout: 1 })
  })
  const [version] = await sql<{ number: number }[]>`select current_setting('server_version_num')::int as number`
  await sql.unsafe(`grant agentos_owner to ${login}${(version?.number ?? 0) >= 160000 ? ' with admin option' : ''}`)
  const own = new URL(url)
  own.username = login
  own.password = 'pw'
  await migrate({ url: own.href, rooms: [...coreMigrations], secret: testSecret })
  const [uid] = await sql`select prosrc from pg_proc where oid = 'core.uid()'::regprocedure`
  t.match(uid?.prosrc, /request\.jwt\.claims/)
  await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${ann}, 'one', 'one', 'pro')`
  await sql`insert into core.member (tenant_id, user_id, role) values (${ann}, ${bob}, 'member')`
  t.strictSame(await asUser(sql, claimsOf(bob), 'select slug as it from core.tenants'), ['one'])
})

t.test('tables that were there before are put under the signature and the erasing by the migration', async (t) => {
  const { url } = await emptyDb(t)
  const sql = adminConnection(url, 2)
  t.teardown(() => sql.end({ timeout: 1 }))
  const note = (name: string) =>
    `create table lab.${name} (tenant_id uuid not null default core.tenant(), id uuid, primary key (tenant_id, id));`
  const files = t.testdir({
    core: { '0001_tenancy.sql': await readFile(new URL('0001_tenancy.sql', coreDbRoom.dir), 'utf8') },
    lab: {
      '0001_lab.sql': `${note('note')} call core.isolate('lab.note', 'select'); call core.system_access('lab.note', 'select');
        ${note('shared')} call core.isolate_shared('lab.shared', 'select', 'false');`,
      'lint-allow.json': '[{"rule": "shared_read", "object": "lab.shared", "reason": "for the sake of the test"}]'
    }
  })
  const lab = { name: 'lab', dir: pathToFileURL(`${files}/lab/`) }
  const defaults = async () =>
    (
      await sql<{ it: string }[]>`
        select adrelid::regclass || ' ' || pg_get_expr(adbin, adrelid) as it from pg_attrdef
        where adrelid::regclass::text like 'lab.%' order by 1`
    ).map(({ it }) => it)
  // What is now demanded of a database refuses the one of then; its tables are there all the same.
  const then = [{ name: 'core/db', dir: pathToFileURL(`${files}/core/`) }, lab]
  await t.rejects(migrate({ url, rooms: then, secret: testSecret }))
  t.strictSame(await defaults(), ['lab.note core.tenant()', 'lab.shared core.tenant()'])
  await migrate({ url, rooms: [coreDbRoom, lab], secret: testSecret })
  t.strictSame(await defaults(), ['lab.note core.tenant_setting()', 'lab.shared core.tenant_setting()'])
  const policies = await sql<{ it: string }[]>`
    select polrelid::regclass || ' ' || polname as it from pg_policy
    where polname like 'erase%' and polrelid::regclass::text like 'lab.%' order by 1`
  t.strictSame(
    policies.map(({ it }) => it),
    ['lab.note erase_delete', 'lab.shared erase_delete', 'lab.shared erase_select']
  )
})

t.test(
  'a login that may make no role migrates too, and nobody reads by membership',
  { skip: !onEmbedded },
  async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'agentos-authenticated-'))
    const server = await startEmbeddedPostgres({ dir, settings: { fsync: 'off' } })
    t.teardown(async () => {
      await server.stop()
      await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    })
    const { appPassword, systemPassword, tenantHmacKey } = deriveSecrets(testSecret)
    const sql = adminConnection(server.url)
    for (const role of [
      'agentos_owner nologin',
      `agentos_app login noinherit password '${appPassword.reveal()}'`,
      `agentos_system login noinherit password '${systemPassword.reveal()}'`,
      `plain login password 'pw'`
    ])
      await sql.unsafe(`create role ${role}`)
    await sql.unsafe('grant agentos_owner to plain')
    await sql.unsafe('create database plain owner plain')
    await sql.end({ timeout: 1 })
    const url = new URL(onDatabase(server.url, 'plain'))
    url.username = 'plain'
    url.password = 'pw'
    const said: string[] = []
    const log = { ...silentLog, info: (_: object, text: string) => void said.push(text) }
    await migrate({ url: url.href, rooms: [...coreMigrations], secret: testSecret, log })
    t.ok(said.includes('the role authenticated is missing and this login may not make it: no reading by membership'))
    const [appUrl, systemUrl] = [
      loginUrl(url.href, 'agentos_app', appPassword),
      loginUrl(url.href, 'agentos_system', systemPassword)
    ]
    const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 1, systemPool: 1 })
    t.strictSame([...(await db.tenant(ann, (tx) => tx`select core.tenant() as id`))], [{ id: ann }])
    await db.close()
  }
)
