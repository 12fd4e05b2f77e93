import type { Db, Tx } from '#core/db/types.ts'
import type { DoctorCheck } from '#core/doctor/doctor.ts'
import { isOwnerless } from './platform.ts'

/** Two sweeps may be missed, by a restart or a long one before. */
const LATE_HOURS = 3
/** What runs is handed back within 5 s. */
const STILL_S = 15

/** What `agentos doctor tenancy` asks of tenants. As agentos_system: ids and counts. */
export function tenantChecks(db: Db): DoctorCheck[] {
  return [
    {
      name: 'tenants.erased-in-time',
      title: 'deleted tenants are erased when their grace time is over',
      run: async () => {
        const rows = await db.system(
          (tx) => tx<{ id: string; late: boolean }[]>`
            select tenant_id as id, erase_at < now() - ${LATE_HOURS} * interval '1 h' as late
            from core.tenants where erase_at is not null and erased_at is null order by erase_at`
        )
        const late = rows.filter((row) => row.late).map(({ id }) => id)
        if (late.length === 0)
          return { ok: true, detail: `${rows.length} tenants wait for the end of their grace time` }
        return {
          ok: false,
          detail: `overdue: ${named(late)}`,
          fix: 'look for "could not be erased" in the logs of the hosts; the sweep runs once an hour'
        }
      }
    },
    {
      name: 'tenants.suspended-still',
      title: 'nothing of a suspended tenant runs',
      run: async () => {
        const { suspended, running } = await db.system(findRunning)
        if (running.length === 0) return { ok: true, detail: `${suspended} tenants are suspended` }
        return {
          ok: false,
          detail: `running: ${named(running)}`,
          fix: 'end the host that holds their leases: it does not hear of suspensions'
        }
      }
    },
    {
      name: 'tenants.owned',
      title: 'every tenant has an owner, a key or an open invitation of one',
      run: async () => {
        const rows = await db.system(
          (tx) => tx<{ id: string }[]>`
            select tenant_id as id from core.tenants t where ${isOwnerless(tx)} order by created_at`
        )
        if (rows.length === 0) return { ok: true, detail: 'somebody can administer each' }
        return {
          ok: false,
          detail: `without: ${named(rows.map(({ id }) => id))}`,
          fix: 'ask who they belong to, then invite an owner or delete them (/v1/platform/tenants)'
        }
      }
    }
  ]
}

// Every table of actors (core.actor_table): whoever holds a lease there runs.
async function findRunning(tx: Tx): Promise<{ suspended: number; running: string[] }> {
  const suspended = await tx<{ id: string }[]>`
    select tenant_id as id from core.tenants
    where suspended_at < now() - ${STILL_S} * interval '1 s' and erased_at is null`
  const ids = suspended.map(({ id }) => id)
  const tables = await tx<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where a.attname = 'lease_owner' and not a.attisdropped and c.relkind = 'r'`
  const running = new Set<string>()
  for (const { name } of tables) {
    const held = await tx.unsafe<{ id: string }[]>(
      `select distinct tenant_id as id from ${name} where lease_until > now() and tenant_id = any ($1::uuid[])`,
      [ids]
    )
    for (const { id } of held) running.add(id)
  }
  return { suspended: ids.length, running: [...running] }
}

function named(ids: readonly string[]): string {
  return `${ids.length} (${ids.slice(0, 3).join(', ')}${ids.length > 3 ? ' ...' : ''})`
}
