import type { Tx } from '#core/db/types.ts'
import type { StoredEvent } from '#core/events.ts'
import { type EventRow, toEvent } from './row.ts'

export interface LockedStream {
  streamId: string
  lastSeq: bigint
}

/** Set to `explain (format json)` by the test that reads the plans of these very statements. */
export type Prefix = 'explain (format json) ' | ''

/** Makes the stream's row when its first event is there. */
export async function createStreams(tx: Tx, streamIds: string[]): Promise<void> {
  await tx`
    insert into core.stream (stream_id) select unnest(${streamIds}::uuid[]) on conflict (stream_id) do nothing`
}

/** Becomes the one relay of those streams that nobody else is relaying, until the end of the transaction. */
export function lockStreams(tx: Tx, streamIds: string[], prefix: Prefix = '') {
  return tx<LockedStream[]>`
    ${tx.unsafe(prefix)}select stream_id as "streamId", last_seq as "lastSeq" from core.stream
    where stream_id = any(${streamIds}::uuid[]) order by stream_id for update skip locked`
}

/**
 * Numbers what is waiting in the locked streams, at most `limit` in each, and marks it for the consumers.
 * It must be its own statement after the lock: only a snapshot taken while the lock is held sees everything that the
 * relay before us numbered and every event that committed before it let go.
 */
export function numberEvents(tx: Tx, streams: LockedStream[], limit: number, prefix: Prefix = '') {
  return tx<(EventRow & { streamId: string })[]>`
    ${tx.unsafe(prefix)}with picked as materialized (
      select s.stream_id, e.tenant_id, e.id,
        s.last_seq + row_number() over (partition by s.stream_id order by e.xid, e.id) as seq
      from unnest(${streams.map((s) => s.streamId)}::uuid[], ${streams.map((s) => s.lastSeq.toString())}::bigint[])
        as s (stream_id, last_seq)
      cross join lateral (
        select w.tenant_id, w.id, w.xid from core.event w
        where w.stream_id = s.stream_id and w.seq is null
        order by w.xid, w.id limit ${limit}
      ) e
    ), numbered as (
      update core.event e set seq = p.seq from picked p
      where e.tenant_id = p.tenant_id and e.id = p.id
      returning e.*
    ), moved as (
      update core.stream s set last_seq = n.last_seq
      from (select stream_id, max(seq) as last_seq from numbered group by stream_id) n
      where s.stream_id = n.stream_id
    ), marked as (
      insert into core.consumer_wanted as w (tenant_id, name, seq)
      select n.tenant_id, k.name, max(n.seq) from numbered n
      join core.consumer_kind k on n.type = any(k.types)
      where n.stream = 'tenant' group by n.tenant_id, k.name
      on conflict (tenant_id, name) do update set seq = excluded.seq
    )
    select stream_id as "streamId", id, seq, tenant_id as "tenantId", stream, type, subject, at, data
    from numbered order by stream_id, seq`
}

/** Streams with events that no relay numbered yet: one probe of the partial index per stream found. */
export function waitingStreams(tx: Tx, limit: number, prefix: Prefix = '') {
  return tx<{ streamId: string }[]>`
    ${tx.unsafe(prefix)}with recursive waiting as (
      (select stream_id from core.event where seq is null order by stream_id limit 1)
      union all
      select (select e.stream_id from core.event e where e.seq is null and e.stream_id > w.stream_id
        order by e.stream_id limit 1)
      from waiting w where w.stream_id is not null
    )
    select stream_id as "streamId" from waiting where stream_id is not null limit ${limit}`
}

/** Numbered rows by stream, each in the order of seq. */
export function byStream(rows: (EventRow & { streamId: string })[]): Map<string, StoredEvent[]> {
  const streams = new Map<string, StoredEvent[]>()
  for (const row of rows) {
    const events = streams.get(row.streamId)
    if (events) events.push(toEvent(row))
    else streams.set(row.streamId, [toEvent(row)])
  }
  return streams
}
