import type { Tx } from '#core/db/types.ts'
import { Internal } from '#core/errors.ts'

/** A table that holds tenants' rows, and the ones that it points to. */
interface Owned {
  table: string
  parents: string[]
}

/** pg-boss's table has no tenant_id; its rows are of the tenant in their data (core/queue/jobs/sql/0002). */
const jobs = 'pgboss.job_common'

/** What is not emptied, and why. A test fails for any other table with a tenant_id that keeps a row. */
export const notErased: Readonly<Record<string, string>> = {
  'core.tenants': 'becomes the tombstone: an id is never given twice, and what was published names it'
}

/** One table and the condition on its rows; `$1` is the tenant. */
export interface Step {
  table: string
  where: string
}

/**
 * Every table with rows of tenants, children before their parents, from pg_catalog: a table that a room adds tomorrow is
 * in.
 */
export async function stepsOf(tx: Tx): Promise<Step[]> {
  const rows = await tx<Owned[]>`
    with owned as (
      select c.oid, format('%I.%I', n.nspname, c.relname) as table
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and exists (select from pg_catalog.pg_attribute a
          where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
    )
    select o.table, coalesce(json_agg(distinct p.table) filter (where p.table is not null), '[]') as parents
    from owned o
    left join pg_catalog.pg_constraint f on f.conrelid = o.oid and f.contype = 'f' and f.confrelid <> o.oid
    left join owned p on p.oid = f.confrelid
    group by o.table order by 1`
  const tables = childrenFirst(rows).filter((table) => !(table in notErased))
  return [
    { table: jobs, where: `data ->> 'tenantId' = $1::uuid::text` },
    ...tables.map((table) => ({ table, where: 'tenant_id = $1::uuid' }))
  ]
}

/** @throws Internal on a circle, where no order would do */
export function childrenFirst(rows: readonly Owned[]): string[] {
  const parents = new Map(rows.map((row) => [row.table, row.parents]))
  const done: string[] = []
  const visit = (table: string, path: readonly string[]) => {
    if (done.includes(table)) return
    if (path.includes(table)) throw new Internal(`foreign keys in a circle: ${[...path, table].join(' -> ')}`)
    for (const parent of parents.get(table) ?? []) visit(parent, [...path, table])
    done.push(table)
  }
  for (const { table } of rows) visit(table, [])
  return done.reverse()
}
