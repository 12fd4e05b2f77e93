import { createHash, randomBytes } from 'node:crypto'
import postgres from 'postgres'
import type { Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { closeDatabase } from '#core/db/bootstrap.ts'
import {
  type Db,
  type DerivedSecrets,
  deriveSecrets,
  loginUrl,
  type MigrationRoom,
  migrate,
  type OpenDbOptions,
  openDb
} from '#core/db/index.ts'
import { readMigrations } from '#core/db/migration-files.ts'
import type { Pool } from '#core/db/types.ts'
import type { Secret } from '#core/secret.ts'
import { testCluster, testSecret } from './cluster.ts'

export interface TestDb {
  db: Db
  /** admin URL of the database: for migrate(), or a second openDb() */
  url: string
  appUrl: string
  systemUrl: string
  secret: Secret
  secrets: DerivedSecrets
  /** As superuser: sees every tenant's rows; for arranging and for looking afterwards. */
  sql: Pool
}

export interface TestDbOptions {
  /** Besides core/db, which always comes first. */
  rooms?: MigrationRoom[]
  /** Pool sizes and limits. */
  open?: Partial<OpenDbOptions>
}

export const coreDbRoom: MigrationRoom = { name: 'core/db', dir: new URL('../../core/db/sql/', import.meta.url) }

/** A fresh, migrated database of its own on the cluster of the tests, dropped at the end of `t`. */
export async function testDb(t: Pick<Test, 'teardown'>, options: TestDbOptions = {}): Promise<TestDb> {
  const rooms = [coreDbRoom, ...(options.rooms ?? []).filter((room) => room.name !== 'core/db')]
  const { url } = await emptyDb(t, await template(rooms))
  const sql = adminConnection(url, 4)
  await closeDatabase(sql, systemClock) // a template does not pass on the grants of the database itself
  const secrets = deriveSecrets(testSecret)
  const { tenantHmacKey } = secrets
  const appUrl = loginUrl(url, 'agentos_app', secrets.appPassword)
  const systemUrl = loginUrl(url, 'agentos_system', secrets.systemPassword)
  const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 8, systemPool: 4, ...options.open })
  t.teardown(async () => {
    await db.close()
    await sql.end({ timeout: 1 })
  })
  return { db, url, appUrl, systemUrl, secret: testSecret, secrets, sql }
}

/** A database without anything in it (or a copy of `template`), dropped at the end of `t`. */
export async function emptyDb(t: Pick<Test, 'teardown'>, template?: string): Promise<{ url: string; name: string }> {
  const cluster = await testCluster()
  const name = `agentos_test_${process.pid}_${randomBytes(5).toString('hex')}`
  await withAdmin(cluster, (sql) => createDatabase(sql, name, template))
  t.teardown(() =>
    withAdmin(cluster, async (sql) => {
      await sql`drop database if exists ${sql(name)} with (force)`
    })
  )
  return { url: onDatabase(cluster, name), name }
}

// Migrating takes ten times as long as copying: each set of files is migrated once per cluster.
async function template(rooms: MigrationRoom[]): Promise<string> {
  const files = (await Promise.all(rooms.map(readMigrations))).flat()
  const sum = createHash('sha256')
  for (const file of files) sum.update(`${file.room}/${file.file} ${file.checksum}\n`)
  const name = `agentos_tpl_${sum.digest('hex').slice(0, 24)}`
  const cluster = await testCluster()
  await withAdmin(cluster, async (sql) => {
    const exists = async () => (await sql`select 1 from pg_database where datname = ${name}`).length > 0
    if (await exists()) return
    await sql`select pg_advisory_lock(hashtext(${name}))`
    if (await exists()) return
    // Migrated under another name: a template that is there is complete, also when this process is killed.
    const unfinished = `${name}_new`
    await sql`drop database if exists ${sql(unfinished)} with (force)`
    await createDatabase(sql, unfinished)
    await migrate({ url: onDatabase(cluster, unfinished), rooms, secret: testSecret })
    await retryBusy(() => sql`alter database ${sql(unfinished)} rename to ${sql(name)}`)
  })
  return name
}

async function createDatabase(sql: Pool, name: string, template = 'template0'): Promise<void> {
  await retryBusy(() => sql`create database ${sql(name)} template ${sql(template)}`)
}

// A connection that was just closed is still there for some milliseconds (55006: database is being accessed).
async function retryBusy(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await work()
      return
    } catch (error) {
      if (!(error instanceof postgres.PostgresError && error.code === '55006') || attempt === 50) throw error
      await systemClock.sleep(20)
    }
  }
}

async function withAdmin<T>(url: string, work: (sql: Pool) => Promise<T>): Promise<T> {
  const sql = adminConnection(url, 1)
  try {
    return await work(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** A connection of the test itself; the caller ends it. */
export function adminConnection(url: string, max = 1): Pool {
  return postgres(url, { max, types: { bigint: postgres.BigInt }, onnotice: () => {} })
}

/** `url` with another database name. */
export function onDatabase(url: string, name: string): string {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}
