import type { Tx } from '#core/db/types.ts'
import type { CheckedEvent } from '#core/events.ts'
import { newId } from '#core/ids.ts'

/**
 * Writes events into the outbox in one statement; ids rise in the order given, so the relay keeps it.
 * @returns the ids of the streams they belong to
 * @throws PostgresError 42501 without a tenant, or for another tenant's
 */
export async function insertEvents(tx: Tx, events: CheckedEvent[]): Promise<string[]> {
  const rows = await tx<{ streamId: string }[]>`
    with written as (
      insert into core.event (tenant_id, id, stream, type, subject, data)
      select coalesce(e.tenant_id, (select core.tenant())), e.id, e.stream, e.type, e.subject, e.data::jsonb
      from unnest(
        ${events.map((e) => e.tenantId)}::uuid[], ${events.map(() => newId())}::uuid[],
        ${events.map((e) => e.stream)}::text[], ${events.map((e) => e.type)}::text[],
        ${events.map((e) => e.subject)}::text[], ${events.map((e) => e.json)}::text[]
      ) as e (tenant_id, id, stream, type, subject, data)
      returning stream_id
    ) select distinct stream_id as "streamId" from written`
  return rows.map((row) => row.streamId)
}
