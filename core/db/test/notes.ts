import type { Pool } from '#core/db/types.ts'

export const tenantA = '018f0000-0000-7000-8000-00000000000a'
export const tenantB = '018f0000-0000-7000-8000-00000000000b'

/** A room's table of the plainest kind, `lab.note`, made as agentos_owner. */
export async function makeNotes(sql: Pool): Promise<void> {
  await asOwner(
    sql,
    `create schema lab;
     create table lab.note (
       tenant_id uuid not null default core.tenant(),
       id uuid not null default core.uuidv7(),
       text text not null default '',
       published boolean not null default false,
       size bigint,
       primary key (tenant_id, id)
     );
     call core.isolate('lab.note', 'select, insert, update, delete');`
  )
}

/** Runs DDL as a migration does: as agentos_owner, in one transaction. */
export async function asOwner(sql: Pool, text: string): Promise<void> {
  await sql.begin(async (tx) => {
    await tx.unsafe('set local role agentos_owner; set local search_path to pg_catalog')
    await tx.unsafe(text)
  })
}
