import type { Tx } from '#core/db/types.ts'

/** One table of an export: which columns, and which rows are the tenant's. */
export interface Source {
  /** 'core.member', quoted where it has to be. */
  table: string
  /** Quoted. */
  columns: string[]
  /** Condition on its rows. */
  where: string
}

/**
 * Columns that are exported of no table: what keys and secrets are proven or opened by. Ciphertext says nothing to its
 * owner and something to who finds the file.
 */
export const omitted: Readonly<Record<string, readonly string[]>> = {
  'core.api_key': ['hash', 'old_hash'],
  'core.invitation': ['token_hash'],
  'vault.data_key': ['wrapped'],
  'vault.secret': ['sealed', 'previous_sealed']
}

/** Tables with tenant's rows that are not exported, and why. A test fails for any other that agentos_app cannot select. */
export const notExported: Readonly<Record<string, string>> = {
  'audit.chain': 'one id, by which the sealer knows that it is alone: the links themselves are exported',
  'core.consumer_wanted': 'how far the relay came: a hint that is made anew',
  'core.ws_ticket': 'one-time tickets of 30 seconds, stored as hashes: nothing to take along'
}

// pg-boss's table has no tenant_id; its rows are of the tenant in their data (core/queue/jobs/sql/0002).
const jobs = { table: 'pgboss.job_common', where: `data ->> 'tenantId' = (select core.tenant())::text` }

/**
 * Everything that the tenant of this transaction may select, from pg_catalog: a table that a room adds tomorrow is in.
 * Tables that others read too (published packages) give the tenant's own rows.
 */
export async function sourcesOf(tx: Tx): Promise<Source[]> {
  const rows = await tx<{ table: string; columns: { name: string; quoted: string }[]; owned: boolean }[]>`
    select format('%I.%I', n.nspname, c.relname) as table,
      json_agg(json_build_object('name', a.attname, 'quoted', quote_ident(a.attname)) order by a.attnum)
        filter (where has_column_privilege(c.oid, a.attnum, 'select')) as columns,
      bool_or(a.attname = 'tenant_id') as owned
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
      and has_schema_privilege(n.oid, 'usage') and has_any_column_privilege(c.oid, 'select')
    group by n.nspname, c.relname order by 1`
  return rows.flatMap(({ table, columns, owned }) => {
    if (!owned && table !== jobs.table) return []
    const kept = (columns ?? []).filter(({ name }) => !omitted[table]?.includes(name)).map(({ quoted }) => quoted)
    return [{ table, columns: kept, where: owned ? 'tenant_id = (select core.tenant())' : jobs.where }]
  })
}
