import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { deriveSecrets, loginUrl, type MigrationRoom, migrate } from '#core/db/index.ts'
import { readMigrations } from '#core/db/migration-files.ts'
import { Secret } from '#core/secret.ts'
import { onEmbedded, testSecret } from '#test/support/cluster.ts'
import { adminConnection, coreDbRoom, emptyDb } from '#test/support/db.ts'

const table = (name: string) =>
  `create table lab.${name} (tenant_id uuid not null default core.tenant(), id uuid, primary key (tenant_id, id));
   call core.isolate('lab.${name}', 'select, insert');\n`

const coreFiles = (await readMigrations(coreDbRoom)).map(({ room, file }) => `${room}/${file}`)

/** A room with files of its own in a folder that goes with the test. */
async function room(t: Test, files: Record<string, string>, name = 'lab') {
  const dir = t.testdir(files)
  const made: MigrationRoom & { path: string } = { name, dir: pathToFileURL(`${dir}/`), path: dir }
  return made
}

async function setUp(t: Test) {
  const { url } = await emptyDb(t)
  const sql = adminConnection(url, 2)
  t.teardown(() => sql.end({ timeout: 1 }))
  return {
    url,
    sql,
    run: (...rooms: MigrationRoom[]) => migrate({ url, rooms: [coreDbRoom, ...rooms], secret: testSecret })
  }
}

t.test('files are applied in order, once, and each is recorded', async (t) => {
  const { sql, run } = await setUp(t)
  const lab = await room(t, { '0002_more.sql': table('b'), '0001_first.sql': `create schema lab;\n${table('a')}` })
  t.strictSame(await run(lab), { applied: [...coreFiles, 'lab/0001_first.sql', 'lab/0002_more.sql'] })
  t.strictSame(await run(lab), { applied: [] })
  const rows = await sql`select room, file, length(checksum) as length from core.migration order by applied_at`
  t.strictSame(
    rows.map((row) => `${row.room}/${row.file} ${row.length}`),
    [...coreFiles, 'lab/0001_first.sql', 'lab/0002_more.sql'].map((name) => `${name} 64`)
  )
  const [owner] = await sql`select tableowner as name from pg_tables where schemaname = 'lab' and tablename = 'a'`
  t.equal(owner?.name, 'agentos_owner')
})

t.test('a schema named like the room is there before its first file', async (t) => {
  const { sql, run } = await setUp(t)
  const files = { '0001_first.sql': table('a').replaceAll('lab.', 'odd_room.'), '0002_more.sql': 'select 1' }
  t.equal((await run(await room(t, files, 'odd-room'))).applied.length, coreFiles.length + 2)
  const [row] = await sql`select nspowner::regrole::text as owner from pg_namespace where nspname = 'odd_room'`
  t.equal(row?.owner, 'agentos_owner')
})

t.test('servers that boot at once migrate once', async (t) => {
  const { url, run, sql } = await setUp(t)
  const lab = await room(t, { '0001_first.sql': `create schema lab;\n${table('a')} select pg_sleep(0.1);` })
  const results = await Promise.all([1, 2, 3, 4].map(() => run(lab)))
  t.strictSame(results.map((result) => result.applied.length).sort(), [0, 0, 0, coreFiles.length + 1])
  t.equal((await sql`select 1 from core.migration`).length, coreFiles.length + 1)
  t.ok(url)
})

t.test('migrations of several databases of one cluster at once do not collide on its roles', async (t) => {
  const bases = await Promise.all([1, 2, 3, 4].map(() => emptyDb(t)))
  const results = await Promise.all(bases.map(({ url }) => migrate({ url, rooms: [coreDbRoom], secret: testSecret })))
  t.strictSame(
    results.map((result) => result.applied.length),
    bases.map(() => coreFiles.length)
  )
})

t.test('a failing file leaves nothing of itself and keeps what came before it', async (t) => {
  const { sql, run } = await setUp(t)
  const lab = await room(t, {
    '0001_first.sql': `create schema lab;\n${table('a')}`,
    '0002_bad.sql': `${table('b')} select 1 / 0;`
  })
  await t.rejects(run(lab), { code: 'DB_MIGRATION_FAILED', message: /lab\/0002_bad\.sql.*division by zero/ })
  t.strictSame(
    { ...(await sql`select to_regclass('lab.a') as a, to_regclass('lab.b') as b`)[0] },
    { a: 'lab.a', b: null }
  )
  await writeFile(`${lab.path}/0002_bad.sql`, table('b'))
  t.strictSame(await run(lab), { applied: ['lab/0002_bad.sql'] }, 'and goes on when it is mended')
})

t.test('a changed, vanished, renamed or late file refuses to boot by name', async (t) => {
  const { sql, run } = await setUp(t)
  const lab = await room(t, { '0001_first.sql': `create schema lab;\n${table('a')}`, '0003_third.sql': table('c') })
  await run(lab)

  await writeFile(`${lab.path}/0003_third.sql`, `${table('c')} -- touched`)
  await t.rejects(run(lab), { code: 'DB_MIGRATION_CHANGED', message: /lab\/0003_third\.sql/ })
  await writeFile(`${lab.path}/0003_third.sql`, table('c').replaceAll('\n', '\r\n'))
  await t.resolves(run(lab), 'line ends are not a change')

  await writeFile(`${lab.path}/0002_late.sql`, table('b'))
  await t.rejects(run(lab), { code: 'DB_MIGRATION_MISNAMED', message: /lab\/0002_late\.sql.*0003_third/ })
  await rm(`${lab.path}/0002_late.sql`)

  await rename(`${lab.path}/0003_third.sql`, `${lab.path}/0003_other.sql`)
  await t.rejects(run(lab), { code: 'DB_MIGRATION_VANISHED', message: /lab\/0003_third\.sql/ })
  t.equal((await sql`select to_regclass('lab.b') as b`)[0]?.b, null)
})

t.test('a number used twice and a name of another form are refused before anything runs', async (t) => {
  const { sql, run } = await setUp(t)
  const twice = await room(t, { '0001_a.sql': 'select 1', '0001_b.sql': 'select 1' })
  await t.rejects(run(twice), { code: 'DB_MIGRATION_MISNAMED', message: /0001_b\.sql.*already that of 0001_a\.sql/ })
  const dir = `${twice.path}/odd`
  await mkdir(dir)
  await writeFile(`${dir}/1-first.sql`, 'select 1')
  await t.rejects(run({ name: 'odd', dir: pathToFileURL(dir) }), {
    code: 'DB_MIGRATION_MISNAMED',
    message: /NNNN_what/
  })
  t.equal((await sql`select to_regnamespace('core') as core`)[0]?.core, null)
})

t.test('a database made with another secret is refused, and says what to bring', async (t) => {
  const { url, run } = await setUp(t)
  await run()
  const other = migrate({ url, rooms: [coreDbRoom], secret: new Secret('quite another secret, just as long') })
  await t.rejects(other, {
    code: 'DB_SECRET_MISMATCH',
    message: /AGENTOS_SECRET or AGENTOS_SECRET_FILE.*AGENTOS_HOME\/secret/
  })
})

t.test('one secret gives different, stable secrets per purpose', async (t) => {
  const { check, ...given } = deriveSecrets(new Secret('s'))
  const values = Object.values(given).map((secret) => secret.reveal())
  t.equal(new Set([...values, check]).size, values.length + 1)
  t.equal(deriveSecrets(new Secret('s')).check, check)
  t.not(deriveSecrets(new Secret('S')).check, check)
  for (const value of values) t.equal(Buffer.from(value, 'base64url').length, 32)
})

t.test('a URL without a host cannot carry our logins and is refused', async (t) => {
  const { appPassword } = deriveSecrets(testSecret)
  t.throws(() => loginUrl('postgres:///agentos?host=/run/postgresql', 'agentos_app', appPassword), {
    code: 'DB_MIGRATION_LOGIN'
  })
})

t.test('a room that breaks isolation does not boot, unless it gives a reason', async (t) => {
  const { run } = await setUp(t)
  const lab = await room(t, { '0001_first.sql': 'create schema lab; create table lab.open (id int);' })
  await t.rejects(run(lab), { code: 'DB_ISOLATION_BROKEN', message: /no_tenant_id lab\.open; rls_off lab\.open/ })
  const why = 'a list of countries, the same for everybody'
  const allow = [
    { rule: 'rls_off', object: 'lab.open', reason: why },
    { rule: 'no_tenant_id', object: 'lab.*', reason: why }
  ]
  await writeFile(`${lab.path}/lint-allow.json`, JSON.stringify(allow))
  await t.resolves(run(lab))
  await writeFile(`${lab.path}/lint-allow.json`, JSON.stringify([{ rule: 'rls_off', object: '*' }]))
  await t.rejects(run(lab), { name: 'ZodError' }, 'an allowance without a reason is none')
})

t.test('a login that may only create roles and schemas is enough', async (t) => {
  const { name, url: adminUrl } = await emptyDb(t)
  const admin = adminConnection(adminUrl)
  t.teardown(() => admin.end({ timeout: 1 }))
  for (const owns of [true, false]) {
    const { name: base, url: baseUrl } = owns ? { name, url: adminUrl } : await emptyDb(t)
    const login = `agentos_test_login_${process.pid}_${owns ? 'owner' : 'guest'}`
    await admin.unsafe(`create role ${login} login createrole password 'pw'`)
    // From 16 on roles that somebody else made need ADMIN; before, CREATEROLE is enough.
    await admin.unsafe(`grant agentos_owner to ${login}${(await version(admin)) >= 16 ? ' with admin option' : ''}`)
    await admin.unsafe(
      owns ? `alter database ${base} owner to ${login}` : `grant create on database ${base} to ${login}`
    )
    const url = new URL(baseUrl)
    url.username = login
    url.password = 'pw'
    const lab = await room(t, { '0001_first.sql': `create schema lab;\n${table('a')}` })
    const warnings: string[] = []
    const log = { debug() {}, info() {}, error() {}, warn: (_: object, text: string) => warnings.push(text) }
    const result = await migrate({ url: url.href, rooms: [coreDbRoom, lab], secret: testSecret, log })
    t.equal(result.applied.length, coreFiles.length + 1, owns ? 'as owner of the database' : 'as a guest')
    t.equal(warnings.length, owns ? 0 : 1, 'a guest is told what only the owner can close')
    t.strictSame(await migrate({ url: url.href, rooms: [coreDbRoom, lab], secret: testSecret }), { applied: [] })
    const sql = adminConnection(baseUrl)
    const [row] = await sql`select tableowner as owner from pg_tables where schemaname = 'lab'`
    t.equal(row?.owner, 'agentos_owner')
    await sql.unsafe(`reassign owned by ${login} to current_user`)
    await sql.unsafe(`drop owned by ${login}`)
    await sql.end({ timeout: 1 })
    await admin.unsafe(`drop role ${login}`)
  }
})

async function version(sql: ReturnType<typeof adminConnection>): Promise<number> {
  const [row] = await sql`select current_setting('server_version_num')::int / 10000 as major`
  return row?.major
}

t.test('roles made with another secret are refused where passwords count', { skip: !onEmbedded }, async (t) => {
  const { startEmbeddedPostgres } = await import('#core/db/index.ts')
  // Not t.testdir(): a server that is still writing its last files makes its removal fail, and the test with it.
  const dir = await mkdtemp(join(tmpdir(), 'agentos-migrate-'))
  const server = await startEmbeddedPostgres({ dir, settings: { fsync: 'off' } })
  t.teardown(async () => {
    await server.stop()
    await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const sql = adminConnection(server.url)
  // Nothing is there yet, and the login may create roles and owns its database: as with most hosted databases.
  await sql.unsafe(`create role hosted login createrole password 'pw'`)
  await sql.unsafe('create database hosted owner hosted')
  const hosted = server.url
    .replace('//postgres:', '//hosted:')
    .replace(/:[^:@]*@/, ':pw@')
    .replace(/agentos$/, 'hosted')
  t.equal((await migrate({ url: hosted, rooms: [coreDbRoom], secret: testSecret })).applied.length, coreFiles.length)
  await migrate({ url: server.url, rooms: [coreDbRoom], secret: testSecret })
  await sql`create database second`
  await sql.end({ timeout: 1 })
  const second = server.url.replace(/agentos$/, 'second')
  const stranger = new Secret('quite another secret, just as long')
  await t.rejects(migrate({ url: second, rooms: [coreDbRoom], secret: stranger }), {
    code: 'DB_SECRET_MISMATCH',
    message: /agentos_app of this PostgreSQL cluster/
  })
  await t.resolves(
    migrate({ url: second, rooms: [coreDbRoom], secret: testSecret, derivedLogins: false }),
    'logins made by an operator are not tried'
  )
  await t.resolves(migrate({ url: second, rooms: [coreDbRoom], secret: testSecret }), 'the same secret serves both')
  const app = adminConnection(loginUrl(second, 'agentos_app', deriveSecrets(testSecret).appPassword))
  t.equal((await app`select current_user as name`)[0]?.name, 'agentos_app')
  await app.end({ timeout: 1 })
})
