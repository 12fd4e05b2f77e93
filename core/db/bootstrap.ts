// What must be there before the first migration file: roles (they belong to the cluster), the database's own grants, the
// schema core with the runner's record.
import postgres from 'postgres'
import type { Clock } from '#core/clock.ts'
import { MigrationLogin, SecretMismatch } from './errors.ts'
import { type DerivedSecrets, loginUrl } from './secrets.ts'
import type { DbLog, Pool } from './types.ts'

export const loginRoles = ['agentos_app', 'agentos_system'] as const

// Roles are rows shared by all databases of the cluster: two migrations of two databases may touch them at once.
const collisions = new Set(['42710', '23505', 'XX000', '40001', '40P01'])

/** Runs `work` again (up to 20 times, 10 to 200 ms apart) when it collided with another database's bootstrap. */
export async function retryCollisions<T>(clock: Clock, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      const collided = error instanceof postgres.PostgresError && collisions.has(error.code)
      if (!collided || attempt === 20) throw error
      await clock.sleep(10 * attempt)
    }
  }
}

/**
 * Makes agentos_owner, agentos_app and agentos_system where they are missing, and lets the current login act as owner.
 * @param options `url` (admin) to try the derived logins of roles that were there before; null: they are not ours to try
 * @throws SecretMismatch when the cluster's roles were made with another secret and their logins do not open
 */
export async function ensureRoles(
  sql: Pool,
  options: { url: string | null; secrets: DerivedSecrets; clock: Clock; log: DbLog }
): Promise<void> {
  const { url, secrets, clock, log } = options
  await retryCollisions(clock, async () => {
    const have = await sql<{ name: string; mark: string | null }[]>`
      select rolname as name, shobj_description(oid, 'pg_authid') as mark
      from pg_roles where rolname in ('agentos_owner', 'agentos_app', 'agentos_system')`
    const known = new Map(have.map((role) => [role.name, role.mark]))
    await sql.begin(async (tx) => {
      if (!known.has('agentos_owner')) await tx.unsafe('create role agentos_owner nologin nosuperuser nobypassrls')
      for (const role of loginRoles) {
        if (known.has(role)) continue
        const password = role === 'agentos_app' ? secrets.appPassword : secrets.systemPassword
        // The derived passwords are base64url: nothing in them needs quoting.
        await tx.unsafe(
          `create role ${role} login nosuperuser nobypassrls noinherit nocreatedb nocreaterole password '${password.reveal()}'`
        )
        // The mark tells another database of this cluster whether it shares the secret; it tells nothing of the secret.
        await tx.unsafe(`comment on role ${role} is 'agentos:${secrets.check}'`)
        log.info({ role }, 'role created')
      }
    })
    for (const role of loginRoles) {
      const mark = known.get(role)
      if (url && known.has(role) && mark !== `agentos:${secrets.check}`) await tryLogin(url, role, secrets)
    }
  })
  const [owner] = await sql<{ may: boolean; bypass: boolean; broken: string | null }[]>`
    select pg_has_role('agentos_owner', ${await memberMode(sql)}) as may,
           (select rolsuper from pg_roles where rolname = current_user) as bypass,
           (select string_agg(rolname, ', ') from pg_roles
            where rolname in ('agentos_owner', 'agentos_app', 'agentos_system') and (rolsuper or rolbypassrls)) as broken`
  if (owner?.broken) throw new MigrationLogin(`${owner.broken} must be NOSUPERUSER NOBYPASSRLS`)
  if (!owner?.may && !owner?.bypass) {
    await retryCollisions(clock, () => sql.unsafe('grant agentos_owner to current_user')).catch((error) => {
      throw new MigrationLogin(
        'it may not act as agentos_owner: it needs CREATEROLE (from 16 on: ADMIN on that role)',
        error
      )
    })
  }
}

// From 16 on being a member is not the right to SET ROLE: the two are told apart.
async function memberMode(sql: Pool): Promise<string> {
  return (await serverVersion(sql)) >= 160000 ? 'SET' : 'MEMBER'
}

export async function serverVersion(sql: Pool): Promise<number> {
  const [row] = await sql<{ version: number }[]>`select current_setting('server_version_num')::int as version`
  return row?.version ?? 0
}

// The roles were made by hand, or with another secret. What counts is whether our logins open (trust, certificates).
async function tryLogin(url: string, role: (typeof loginRoles)[number], secrets: DerivedSecrets) {
  const password = role === 'agentos_app' ? secrets.appPassword : secrets.systemPassword
  const probe = postgres(loginUrl(url, role, password), { max: 1, connect_timeout: 2, onnotice: () => {} })
  try {
    await probe`select 1`
  } catch (error) {
    if (error instanceof postgres.PostgresError && error.code.startsWith('28')) {
      throw new SecretMismatch(`the role ${role} of this PostgreSQL cluster (roles are shared by its databases)`)
    }
    // No CONNECT on this database yet: authentication comes first, so the password was right.
    if (!(error instanceof postgres.PostgresError && error.code === '42501')) throw error
  } finally {
    await probe.end({ timeout: 1 })
  }
}

/**
 * Grants and revokes on the database itself: only our logins connect, nobody makes temporary tables or schemas.
 * CREATE DATABASE ... TEMPLATE does not copy these.
 * @returns false when the login may not change them (it is not the owner of the database)
 */
export async function closeDatabase(sql: Pool, clock: Clock): Promise<boolean> {
  const [db] = await sql<{ name: string; owns: boolean; open: boolean; creates: boolean }[]>`
    select quote_ident(datname) as name,
           pg_has_role(datdba, 'usage') or (select rolsuper from pg_roles where rolname = current_user) as owns,
           has_database_privilege('agentos_app', oid, 'temp') or has_database_privilege('agentos_app', oid, 'create') as open,
           has_database_privilege('agentos_owner', oid, 'create') as creates
    from pg_database where datname = current_database()`
  if (!db) throw new MigrationLogin('the database is not listed in pg_database')
  if (!db.owns) return !db.open
  if (!db.open && db.creates) return true
  await retryCollisions(clock, async () => {
    await sql.unsafe(`revoke all on database ${db.name} from public`)
    await sql.unsafe(`grant connect on database ${db.name} to agentos_app, agentos_system`)
    await sql.unsafe(`grant connect, create on database ${db.name} to agentos_owner`)
    // Also where the cluster was upgraded from 14, when everybody could create in public.
    await sql.unsafe('revoke all on schema public from public')
  })
  return true
}

/** The schema core and the two tables of the runner itself. */
export async function ensureCore(sql: Pool): Promise<void> {
  const [found] = await sql`select to_regclass('core.installation') as there`
  if (found?.there) return
  await sql.begin(async (tx) => {
    await tx.unsafe('create schema if not exists core authorization agentos_owner')
    await tx.unsafe('set local role agentos_owner')
    await tx.unsafe(`
      create table if not exists core.migration (
        room text not null,
        file text not null,
        checksum text not null,
        applied_at timestamptz not null default clock_timestamp(),
        primary key (room, file)
      );
      create table if not exists core.installation (
        only_row boolean primary key default true check (only_row),
        secret_check text not null,
        created_at timestamptz not null default clock_timestamp()
      )`)
  })
}

/** @throws SecretMismatch when this database was made with another secret */
export async function checkSecret(sql: Pool, secrets: DerivedSecrets): Promise<void> {
  await sql.begin(async (tx) => {
    await tx.unsafe('set local role agentos_owner')
    await tx`insert into core.installation (secret_check) values (${secrets.check}) on conflict do nothing`
    const [row] = await tx`select secret_check as check from core.installation`
    if (row?.check !== secrets.check) throw new SecretMismatch('this database')
  })
}
