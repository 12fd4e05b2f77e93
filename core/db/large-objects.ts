// Large objects belong to a role and to no tenant: what one tenant's SQL writes there, another one's could read.
import type { Pool } from './types.ts'

/**
 * Takes the functions of large objects from everybody in this database (nobody here uses them), where this login may: a
 * superuser, or who owns them.
 * @returns whether agentos_app can call none of them now
 */
export async function closeLargeObjects(sql: Pool): Promise<boolean> {
  const open = await sql<{ name: string; owns: boolean }[]>`
    select oid::regprocedure::text as name, pg_has_role(proowner, 'usage') as owns from pg_proc
    where pronamespace = 'pg_catalog'::regnamespace and (proname ~ '^lo_' or proname in ('loread', 'lowrite'))
      and has_function_privilege('agentos_app', oid, 'execute')`
  const names = open.filter(({ owns }) => owns).map(({ name }) => name)
  if (names.length > 0) await sql.unsafe(`revoke execute on function ${names.join(', ')} from public`)
  return names.length === open.length
}
