import postgres from 'postgres'
import { type Clock, systemClock } from '#core/clock.ts'
import type { Secret } from '#core/secret.ts'
import { ensureAuthenticated } from './authenticated.ts'
import { checkSecret, closeDatabase, ensureCore, ensureRoles, serverVersion } from './bootstrap.ts'
import { DatabaseUnavailable, IsolationBroken, MigrationFailed, MigrationLogin, VersionUnsupported } from './errors.ts'
import { isConnectionLoss } from './guard.ts'
import { closeLargeObjects } from './large-objects.ts'
import { lint } from './lint.ts'
import {
  type MigrationFile,
  type MigrationRoom,
  pendingMigrations,
  readAllowances,
  readMigrations
} from './migration-files.ts'
import { deriveSecrets } from './secrets.ts'
import { hmacPads } from './signature.ts'
import { type DbLog, type Pool, silentLog } from './types.ts'
import { judgeVersion } from './version.ts'

export interface MigrateOptions {
  /** a login that may create roles and schemas in this database; requests never use it */
  url: string
  /** in the order in which they are applied; core/db first */
  rooms: MigrationRoom[]
  secret: Secret
  /** default true; false where an operator made the roles and their passwords, so that ours need not open */
  derivedLogins?: boolean
  clock?: Clock
  log?: DbLog
}

// Any constant will do; it is the same in every version, so that an old and a new server exclude each other.
const migrationLock = '4711206420061'

/**
 * Brings the database to the state of this code: roles, grants, every room's new files (each in one transaction, as
 * agentos_owner), then the isolation lint. Two servers that boot at once migrate once.
 * @returns `applied`: 'room/file' of the files applied by this call, in order
 * @throws VersionUnsupported, SecretMismatch, MigrationChanged, MigrationVanished, MigrationMisnamed, MigrationFailed,
 *   MigrationLogin, IsolationBroken, DatabaseUnavailable: nothing of a failed file stays
 */
export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  const log = options.log ?? silentLog
  const clock = options.clock ?? systemClock
  const files = await Promise.all(options.rooms.map(readMigrations))
  const allowed = (await Promise.all(options.rooms.map(readAllowances))).flat()
  const sql: Pool = postgres(options.url, {
    max: 1,
    types: { bigint: postgres.BigInt },
    connect_timeout: 10,
    max_lifetime: null,
    onnotice: (notice) => log.debug({ notice: notice.message }, 'notice of a migration'),
    // Renaming "x" in a session's search_path must not decide which table a migration means.
    connection: { application_name: 'agentos migrate', search_path: 'pg_catalog' }
  })
  try {
    const version = await serverVersion(sql)
    const { name, needs, why } = judgeVersion(version)
    if (needs !== undefined) throw new VersionUnsupported(name, needs, why ?? '')
    await lockOut(sql)
    await bootstrap(sql, options, clock, log)
    const applied = await applyAll(sql, options.rooms, files, log)
    await storeTenantKey(sql, deriveSecrets(options.secret).tenantHmacKey)
    const findings = await lint(sql, allowed)
    if (findings.length > 0) throw new IsolationBroken(findings)
    return { applied }
  } catch (error) {
    throw isConnectionLoss(error) ? new DatabaseUnavailable('the migration lost or got no connection', error) : error
  } finally {
    await sql.end({ timeout: 5 })
  }
}

// A session lock: it goes with the connection, however this process ends.
async function lockOut(sql: Pool): Promise<void> {
  try {
    await sql`set lock_timeout to '120s'`
    await sql`select pg_advisory_lock(${migrationLock}::bigint)`
    // A file that waits for a busy table stops everybody behind it: better to fail and be run again.
    await sql`set lock_timeout to '30s'`
  } catch (error) {
    const busy = error instanceof postgres.PostgresError && error.code === '55P03'
    throw busy ? new DatabaseUnavailable('another server has been migrating it for 120 s', error) : error
  }
}

async function bootstrap(sql: Pool, options: MigrateOptions, clock: Clock, log: DbLog) {
  const secrets = deriveSecrets(options.secret)
  try {
    await ensureRoles(sql, { url: options.derivedLogins === false ? null : options.url, secrets, clock, log })
    if (!(await closeDatabase(sql, clock))) {
      log.warn(
        {},
        'this login does not own the database: its owner should run REVOKE ALL ON DATABASE ... FROM PUBLIC (CREATE, TEMPORARY)'
      )
    }
    if (!(await closeLargeObjects(sql))) {
      log.info({}, 'this login may not revoke the functions of large objects (lo_*): a superuser should, FROM PUBLIC')
    }
    await ensureCore(sql)
    await ensureAuthenticated(sql, { clock, log })
  } catch (error) {
    if (!(error instanceof postgres.PostgresError) || isConnectionLoss(error)) throw error
    throw new MigrationLogin(error.message, error)
  }
  await checkSecret(sql, secrets)
}

async function applyAll(sql: Pool, rooms: MigrationRoom[], files: MigrationFile[][], log: DbLog): Promise<string[]> {
  const record = await sql.begin(async (tx) => {
    await tx.unsafe('set local role agentos_owner')
    return tx<{ room: string; file: string; checksum: string }[]>`select room, file, checksum from core.migration`
  })
  // All rooms are checked before the first file runs: a refused boot has changed nothing.
  const pending = rooms.flatMap(({ name }, i) => {
    const mine = record.filter((row) => row.room === name).map((row) => [row.file, row.checksum] as const)
    return pendingMigrations(name, files[i] ?? [], new Map(mine))
  })
  const [may] = await sql<{ creates: boolean }[]>`
    select has_database_privilege('agentos_owner', current_database(), 'create') as creates`
  const applied: string[] = []
  for (const file of pending) {
    const name = `${file.room}/${file.file}`
    await applyFile(sql, file, may?.creates ?? false).catch((error) => {
      throw isConnectionLoss(error) ? error : new MigrationFailed(name, error)
    })
    applied.push(name)
    log.info({ migration: name }, 'migration applied')
  }
  return applied
}

// The secret of a database never changes (checkSecret), so neither does this row.
async function storeTenantKey(sql: Pool, key: Secret): Promise<void> {
  const { inner, outer } = hmacPads(key)
  await sql.begin(async (tx) => {
    await tx.unsafe('set local role agentos_owner')
    await tx`insert into core.tenant_key (inner_pad, outer_pad) values (${inner}, ${outer}) on conflict do nothing`
  })
}

const createSchema = /^create schema (?:if not exists )?([a-z_][a-z0-9_]*);/gim

async function applyFile(sql: Pool, file: MigrationFile, ownerCreates: boolean): Promise<void> {
  await sql.begin(async (tx) => {
    let text = file.text
    // A room's schema is named like the room ('skills-registry': skills_registry) and is there before its first file.
    const own = file.room.replaceAll('-', '_')
    const creates = [...text.matchAll(createSchema)].some(([, schema]) => schema === own)
    if (/^[a-z][a-z0-9_]*$/.test(own) && !creates) {
      const [found] = await tx`select to_regnamespace(${own}) is not null as there`
      if (!found?.there) await tx.unsafe(`create schema ${own} authorization agentos_owner`)
    }
    if (!ownerCreates) {
      // A login that may create schemas and may not pass that on (it does not own the database) creates them itself.
      for (const [, schema] of text.matchAll(createSchema)) {
        await tx.unsafe(`create schema ${schema} authorization agentos_owner`)
      }
      text = text.replace(createSchema, '')
    }
    await tx.unsafe('set local role agentos_owner')
    await tx.unsafe(text)
    await tx.unsafe('set local role agentos_owner') // the file may have reset it
    await tx`insert into core.migration (room, file, checksum) values (${file.room}, ${file.file}, ${file.checksum})`
  })
}
