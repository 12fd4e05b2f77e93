import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { prepareDatabase } from '#config/database.ts'
import { loadEnv } from '#config/env.ts'
import { deriveSecrets, openDb, silentLog } from '#core/db/index.ts'
import { isAlive } from '#core/db/postmaster.ts'
import { coreMigrations } from '#core/migrations.ts'

t.test('without DATABASE_URL the home gets a database, and keeps it', async (t) => {
  const home = join(t.testdir(), 'home')
  const env = loadEnv({ AGENTOS_HOME: home })
  const prepare = () => prepareDatabase({ env, rooms: coreMigrations, log: silentLog })

  const first = await prepare()
  t.ok(first.applied.includes('core/db/0001_tenancy.sql'))
  t.equal(first.embedded, true)
  const { tenantHmacKey } = deriveSecrets(env.secret)
  const db = await openDb({ appUrl: first.appUrl.reveal(), systemUrl: first.systemUrl.reveal(), tenantHmacKey })
  await t.resolves(db.ping())
  await db.close()
  const pid = Number((await readFile(join(home, 'postgres/data/postmaster.pid'), 'utf8')).split('\n')[0])
  await first.stop()
  t.equal(isAlive(pid), false)

  const second = await prepare()
  t.strictSame(second.applied, [])
  await second.stop()
})

t.test('a boot that is refused leaves no database running', async (t) => {
  const home = join(t.testdir(), 'home')
  const env = loadEnv({ AGENTOS_HOME: home })
  const broken = { name: 'broken', dir: new URL('./nowhere/', import.meta.url) }
  await t.rejects(prepareDatabase({ env, rooms: [broken], log: silentLog }), { code: 'ENOENT' })
  await t.rejects(readFile(join(home, 'postgres/data/postmaster.pid')), { code: 'ENOENT' })
})
