import type { Tx } from '#core/db/types.ts'

/**
 * Deletes the oldest events of a stream that are older than `olderThanMs`, as a prefix (what stays has no holes) and
 * only up to where every consumer with work left has come. Moves oldest_seq with it.
 * @returns how many rows went
 */
export async function deleteOld(tx: Tx, streamId: string, olderThanMs: number, limit: number): Promise<number> {
  const [row] = await tx<{ gone: number }[]>`
    with stream as (
      select stream_id, oldest_seq from core.stream s where stream_id = ${streamId}
        -- one probe tells most streams apart: their oldest event is young
        and exists (select from core.event e where e.stream_id = s.stream_id and e.seq = s.oldest_seq
          and e.at < clock_timestamp() - ${olderThanMs}::bigint * interval '1 ms')
      for update
    ), bound as (
      select min(coalesce(c.seq, 0)) as seq from core.consumer_wanted w
      left join core.consumer c on c.tenant_id = w.tenant_id and c.name = w.name
      where w.tenant_id = ${streamId}
    ), chunk as (
      select e.tenant_id, e.id, e.seq, bool_and(e.at < clock_timestamp() - ${olderThanMs}::bigint * interval '1 ms')
        over (order by e.seq) as old
      from stream s cross join lateral (
        select tenant_id, id, seq, at from core.event
        where stream_id = s.stream_id and seq >= s.oldest_seq order by seq limit ${limit}
      ) e
    ), gone as (
      delete from core.event e using chunk c, bound b
      where e.tenant_id = c.tenant_id and e.id = c.id and c.old and (b.seq is null or c.seq <= b.seq)
      returning e.seq
    ), moved as (
      update core.stream s set oldest_seq = g.seq + 1 from (select max(seq) as seq from gone) g
      where s.stream_id = ${streamId} and g.seq is not null
    ) select count(*)::int as gone from gone`
  return row?.gone ?? 0
}

/** Streams by id, for a sweep through all of them. */
export async function streamsAfter(tx: Tx, after: string, limit: number): Promise<string[]> {
  const rows = await tx<{ streamId: string }[]>`
    select stream_id as "streamId" from core.stream where stream_id > ${after} order by stream_id limit ${limit}`
  return rows.map((row) => row.streamId)
}
