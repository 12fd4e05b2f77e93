import type { Doctor, DoctorCheck, Verdict } from '#core/doctor/doctor.ts'
import { newId } from '#core/ids.ts'
import { type Finding, lint } from './lint.ts'
import { type Allowance, type MigrationRoom, readAllowances } from './migration-files.ts'
import type { Db, Tx } from './types.ts'
import { judgeVersion } from './version.ts'

/** What the database promises about tenants, for `agentos doctor tenancy`. @param rooms whose tables and allowances */
export function addTenancyChecks(doctor: Doctor, db: Db, rooms: readonly MigrationRoom[]): void {
  for (const check of tenancyChecks(db, rooms)) doctor.add('tenancy', check)
}

export function tenancyChecks(db: Db, rooms: readonly MigrationRoom[]): DoctorCheck[] {
  const findings = async () => {
    const allowed = (await Promise.all(rooms.map(readAllowances))).flat()
    return db.system(async (tx) => {
      await tx`set local search_path to pg_catalog` // as in migrations: names are printed whole
      return { found: await lint(tx, allowed), tables: await countTables(tx), allowed }
    })
  }
  return [
    {
      name: 'postgres.patched',
      title: 'PostgreSQL is a release without known leaks past row level security',
      run: () => db.system(checkVersion)
    },
    {
      name: 'roles.bound',
      title: 'no login of the server is superuser, passes row level security or may become another role',
      run: () => checkRoles(db)
    },
    {
      name: 'rls.forced',
      title: 'every table is under forced row level security',
      run: async () => {
        const { found, tables, allowed } = await findings()
        const open = found.filter(({ rule }) => isSwitch(rule))
        const exempt = allowed.filter(({ rule }) => rule === 'rls_off').length
        return verdict(open, `${tables} tables, ${exempt} without on a list with its reason`)
      }
    },
    {
      name: 'policies.lint',
      title: 'policies, keys, grants, views and functions keep tenants apart',
      run: async () => {
        const { found, allowed } = await findings()
        return verdict(
          found.filter(({ rule }) => !isSwitch(rule)),
          `nothing found but ${allowed.length} exceptions on lists with their reasons`
        )
      }
    },
    {
      name: 'hmac.enforced',
      title: 'a tenant that the server did not sign is refused, tried through the login of requests',
      run: () => checkSignature(db)
    },
    {
      name: 'rows.foreign',
      title: 'a tenant sees no row of another one, tried on every table through the login of requests',
      run: () => checkRows(db, rooms)
    }
  ]
}

const isSwitch = (rule: string) => rule === 'rls_off' || rule === 'rls_not_forced'

function verdict(found: Finding[], well: string): Verdict {
  if (found.length === 0) return { ok: true, detail: well }
  return {
    ok: false,
    detail: found.map(({ rule, object }) => `${rule} ${object}`).join('; '),
    fix: 'find who changed the schema past the migrations, and undo it; the next boot refuses it'
  }
}

async function countTables(tx: Tx): Promise<number> {
  const [row] = await tx<{ n: number }[]>`
    select count(*)::int as n from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspowner = to_regrole('agentos_owner')`
  return row?.n ?? 0
}

async function checkVersion(tx: Tx): Promise<Verdict> {
  const [row] = await tx<{ number: number }[]>`select current_setting('server_version_num')::int as number`
  const { name, needs, why } = judgeVersion(row?.number ?? 0)
  if (needs === undefined) return { ok: true, detail: name }
  return { ok: false, detail: `${name}: ${why}`, fix: `update PostgreSQL to ${needs} or later` }
}

async function checkRoles(db: Db): Promise<Verdict> {
  const whoAmI = async (tx: Tx) => (await tx<{ name: string }[]>`select session_user as name`)[0]?.name ?? ''
  const app = await db.tenant(newId(), whoAmI)
  const { faults, system } = await db.system(async (tx) => {
    const system = await whoAmI(tx)
    const rows = await tx<{ fault: string }[]>`
      with asks (login, role) as (
        values (${app}, 'agentos_app'), (${system}, 'agentos_system'), ('agentos_owner', 'agentos_owner')
      )
      select login || ' ' || fault as fault from asks join pg_roles r on r.rolname = login
      cross join lateral (values
        (r.rolsuper, 'is superuser'), (r.rolbypassrls, 'passes row level security'),
        (r.rolcreaterole, 'makes roles'), (r.rolcreatedb, 'makes databases'), (r.rolreplication, 'replicates'),
        (login = 'agentos_owner' and r.rolcanlogin, 'logs in'),
        (login <> role and not pg_has_role(r.oid, to_regrole(role), 'member'), 'is not ' || role)
      ) f (is_so, fault) where is_so
      union all
      -- A login of the operator's own (DATABASE_APP_URL) is a member of our role, and of nothing else.
      select login || ' may become ' || m.roleid::regrole from asks join pg_roles r on r.rolname = login
      join pg_auth_members m on m.member = r.oid where m.roleid::regrole::text not in (login, role)
      union all
      select rolname || ' passes row level security' from pg_roles
      where rolname = 'authenticated' and (rolbypassrls or rolsuper)`
    return { faults: rows.map(({ fault }) => fault), system }
  })
  if (faults.length === 0)
    return { ok: true, detail: `${app}, ${system} and agentos_owner have no more than their grants` }
  return {
    ok: false,
    detail: faults.join('; '),
    fix: 'take it back: alter role ... nosuperuser nobypassrls, revoke ...'
  }
}

async function checkSignature(db: Db): Promise<Verdict> {
  const [tenant, other] = [newId(), newId()]
  const forgeries: [what: string, setting: string, value: string][] = [
    ['another tenant', 'agentos.tenant', other],
    ['another user', 'agentos.user', other],
    ['other claims', 'request.jwt.claims', JSON.stringify({ tenant_id: tenant, role: 'owner' })],
    ['no signature', 'agentos.signature', ''],
    ['a wrong signature', 'agentos.signature', '0'.repeat(64)]
  ]
  const taken = await db.tenant(tenant, async (tx) => {
    const asked = async (inner: Tx) => (await inner<{ id: string }[]>`select core.tenant() as id`)[0]?.id
    if ((await asked(tx)) !== tenant) return ['its own signature gives another tenant']
    const through: string[] = []
    for (const [what, setting, value] of forgeries) {
      const refused = await tx
        .savepoint(async (inner) => {
          await inner`select set_config(${setting}, ${value}, true)`
          await asked(inner)
          return false
        })
        .catch((error) => {
          if (error?.code === '42501') return true
          throw error
        })
      if (!refused) through.push(`${what} was taken`)
    }
    return through
  })
  if (taken.length === 0) return { ok: true, detail: `${forgeries.length} forgeries were refused` }
  return { ok: false, detail: taken.join('; '), fix: 'restore core.tenant() from core/db/sql/0002_signature.sql' }
}

async function checkRows(db: Db, rooms: readonly MigrationRoom[]): Promise<Verdict> {
  const allowed: Allowance[] = (await Promise.all(rooms.map(readAllowances))).flat()
  const shared = allowed.filter(({ rule }) => rule === 'shared_read').map(({ object }) => object)
  const { tables, tenants } = await db.system(async (tx) => ({
    tables: await tx<{ name: string; probe: string }[]>`
      select t.name, format('select %L as name where exists (select from %s)', t.name, t.name) as probe
      from (select c.oid, format('%I.%I', n.nspname, c.relname) as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and has_schema_privilege('agentos_app', n.oid, 'usage')
          and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')) t
      where has_any_column_privilege('agentos_app', t.oid, 'select') order by 1`,
    tenants: (await tx<{ n: number }[]>`select count(*)::int as n from core.tenants`)[0]?.n ?? 0
  }))
  const tried = tables.filter(({ name }) => !shared.includes(name))
  // A tenant that does not exist: whatever it sees is another's.
  const seen = await db.tenant(newId(), (tx) =>
    tx.unsafe<{ name: string }[]>(tried.map(({ probe }) => probe).join(' union all '))
  )
  if (seen.length > 0) {
    const detail = `rows of others are seen in ${seen.map(({ name }) => name).join(', ')}`
    return { ok: false, detail, fix: 'stop the server, and restore the policies of these tables (core.isolate)' }
  }
  if (tenants === 0) return { ok: 'unknown', detail: 'there is no tenant yet whose rows could be seen' }
  return { ok: true, detail: `${tried.length} tables, ${tables.length - tried.length} more are shared by declaration` }
}
