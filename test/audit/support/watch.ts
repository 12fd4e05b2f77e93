import type { Pool } from '#core/db/types.ts'

/** What one transaction of an actor wrote. */
export interface Written {
  xid: string
  /** `key:<id>` */
  actor: string
  /** `insert core.event`, sorted */
  writes: string[]
  audited: boolean
}

/** Tables whose rows are no change of their own. */
const NO_CHANGE = [
  'core.idempotency', // the answer for a repeated key: the change that it tells of is looked for
  'core.ws_ticket' // good for one connection within 30 s, and gives nothing that its asker has not
]

/**
 * Puts a trigger on every table that there is, read from pg_catalog: it notes each row that a transaction whose claims
 * carry an actor writes. The log's own tables are noted as well: that is how an audited transaction is told.
 */
export async function watchWrites(
  sql: Pool
): Promise<{ tables: string[]; written(): Promise<Written[]>; forget(): Promise<void> }> {
  await sql.unsafe(`
    create schema watch;
    create unlogged table watch.write (xid xid8, tbl text, verb text, actor text, unique (xid, tbl, verb));
    create function watch.note() returns trigger language plpgsql security definer as $$
    declare
      actor jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'actor';
    begin
      if actor is not null then
        insert into watch.write
        values (pg_current_xact_id(), tg_table_schema || '.' || tg_table_name, lower(tg_op), (actor ->> 'kind') || ':' || (actor ->> 'id'))
        on conflict do nothing;
      end if;
      return null;
    end $$`)
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'watch') order by 1`
  for (const { name } of tables) {
    await sql.unsafe(
      `create trigger zz_watch after insert or update or delete on ${name} for each row execute function watch.note()`
    )
  }
  return {
    tables: tables.map((table) => table.name),
    async written() {
      return await sql<Written[]>`
        select xid::text as xid, min(actor) as actor, bool_or(tbl = 'audit.entry' and verb = 'insert') as audited,
          array_to_json(array_agg(verb || ' ' || tbl order by tbl, verb) filter (where tbl not like 'audit.%')) as writes
        from watch.write where tbl <> all (${NO_CHANGE}) group by xid
        having bool_or(tbl not like 'audit.%') order by xid`
    },
    async forget() {
      await sql`truncate watch.write`
    }
  }
}
