import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { deriveSecrets } from '#core/db/index.ts'
import { readPostmaster } from '#core/db/postmaster.ts'
import type { Pool } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { adminConnection } from '#test/support/db.ts'
import { runNode } from '#test/support/run-node.ts'
import { until } from '#test/support/until.ts'
import { searchFiles, searchTables } from './support/places.ts'
import { type Canaries, Search } from './support/search.ts'
import { Visitor } from './support/visitor.ts'

// One real server, log level trace, with a secret of every kind: used well, used badly, and while the database refuses.
// Then everything that it wrote is searched.

const random = () => randomBytes(24).toString('base64url')
const key32 = () => randomBytes(32).toString('base64')

/** Files that keep a secret on purpose, mode 0600. */
const KEY_FILES = ['owner.key', 'registry.key', 'author.key', 'postgres/password']

const given = { AGENTOS_SECRET: key32(), SUPABASE_JWT_SECRET: `supabase-"${random()}${random()}` }
const kek = key32()
const redisPassword = `redis-${random()}`

t.test('no secret of any kind is found in anything that a server writes', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'agentos-sinks-'))
  t.teardown(() => rm(home, { recursive: true, force: true, maxRetries: 20 }))
  const server = runNode(t, 'config/main.ts', [], {
    ...given,
    VAULT_KEKS: `2:${kek},1:derived`,
    REDIS_URL: `redis://agentos:${redisPassword}@127.0.0.1:1`,
    JWT_ISSUER: 'https://login.example/',
    JWT_AUDIENCE: 'agentos',
    AGENTOS_HOME: home,
    PORT: '0',
    LOG_LEVEL: 'trace'
  })
  const [, url = ''] = await server.says(/^agentos ready on (\S+)$/m)
  await server.says(/npx node examples\/clients/)
  const ownerKey = (await readFile(join(home, 'owner.key'), 'utf8')).trim()
  const { sql, password } = await openOwn(t, home)

  const visitor = new Visitor(url, ownerKey)
  const began = systemClock.monotonic()
  const phase = (what: string) =>
    t.comment(`${what} at ${Math.round(systemClock.monotonic() - began)} ms, ${JSON.stringify([...visitor.statuses])}`)
  await visitor.usesAll()
  phase('used')
  await visitor.misusesAll()
  phase('misused')
  await whileBroken(sql, () => visitor.usesAll({ broken: true }))
  t.ok(visitor.statuses.has(500), 'it answered 500 with a cause')
  for (const status of [200, 201, 204, 400, 401, 404]) t.ok(visitor.statuses.has(status), `${status}`)
  phase('broken')
  await visitor.readsEvents()
  phase('events')
  await until(async () => server.stderr().includes('"a request failed"'), 'a 500 in the log')

  const {
    appPassword,
    systemPassword,
    apiKeyPepper,
    userTokenKey,
    kek: derivedKek
  } = deriveSecrets(new Secret(given.AGENTOS_SECRET))
  const derived = { appPassword, systemPassword, apiKeyPepper, userTokenKey, derivedKek }
  const canaries: Canaries = {
    ...given,
    kek,
    kekBytes: Buffer.from(kek, 'base64').toString('base64url'),
    redisPassword,
    databasePassword: password,
    ...Object.fromEntries(Object.entries(derived).map(([name, secret]) => [name, secret.reveal()])),
    ...visitor.secrets
  }
  t.ok(Object.keys(canaries).length >= 20, Object.keys(canaries).join(' '))
  const all = new Search({ ...canaries, ownerKey })

  t.strictSame(all.in('stderr', server.stderr()), [], 'the log')
  const shown = server.stdout().replace(`owner key   ${ownerKey}\n`, '') // the one line that shows it, once
  t.not(shown, server.stdout())
  t.strictSame(all.in('stdout', shown), [], 'what people see')
  const inBodies = visitor.errorBodies.flatMap(({ text, own }) =>
    all.in('error body', text).filter(({ canary }) => canary !== own)
  )
  t.strictSame(inBodies, [], `${visitor.errorBodies.length} error bodies`)
  t.strictSame(all.in('frame', visitor.frames.join('\n')), [], `${visitor.frames.length} WebSocket frames`)
  t.ok(visitor.frames.length > 5 && visitor.errorBodies.length > 20)
  const tables = await searchTables(sql, all)
  t.strictSame(tables.hits, [], `${tables.rows} values of ${tables.columns} columns`)
  await sql`checkpoint`
  await sql.end({ timeout: 1 })
  const files = await searchFiles(home, all, KEY_FILES)
  t.strictSame(files.hits, [], `${files.files} files, ${files.bytes} bytes`)
  t.comment(
    `${Object.keys(canaries).length} canaries; ${tables.columns} columns, ${tables.rows} values, ${files.files} files`
  )

  // The same sinks, with something in them that is meant to be there: the search does read what it says it reads.
  const known = new Search({ slug: visitor.known, level: '"level":"debug"', ready: 'agentos ready on' })
  t.ok(known.in('stderr', server.stderr()).some(({ canary }) => canary === 'level'))
  t.ok(known.in('stdout', shown).some(({ canary }) => canary === 'ready'))
  t.ok(known.in('frame', visitor.frames.join('\n')).some(({ canary }) => canary === 'slug'))
  t.ok(files.files > 500 && files.bytes > 10_000_000)
})

/** Its embedded database, as superuser. */
async function openOwn(t: Test, home: string): Promise<{ sql: Pool; password: string }> {
  const { port } = must(await readPostmaster(join(home, 'postgres', 'data')), 'a running postmaster')
  const password = (await readFile(join(home, 'postgres', 'password'), 'utf8')).trim()
  const sql = adminConnection(`postgres://postgres:${password}@127.0.0.1:${port}/agentos`, 1)
  t.teardown(() => sql.end({ timeout: 1 }))
  return { sql, password }
}

/** Meanwhile every insert into these tables breaks a constraint, with the whole row in the error's detail. */
async function whileBroken(sql: Pool, work: () => Promise<void>): Promise<void> {
  const tables = [
    'core.api_key',
    'core.app_user',
    'core.invitation',
    'core.ws_ticket',
    'vault.secret',
    'audit.entry',
    'core.login',
    'pulse.session'
  ]
  const there = await sql<
    { name: string }[]
  >`select name from unnest(${tables}::text[]) name where to_regclass(name) is not null`
  for (const { name } of there)
    await sql.unsafe(`alter table ${name} add constraint sinks_broken check (false) not valid`)
  try {
    await work()
  } finally {
    for (const { name } of there) await sql.unsafe(`alter table ${name} drop constraint sinks_broken`)
  }
}
