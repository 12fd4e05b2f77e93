import type { TopicFilter } from '#core/bus/topics.ts'
import type { Tx } from '#core/db/types.ts'
import type { StoredEvent } from '#core/events.ts'
import { type EventRow, toEvent } from './row.ts'

export interface StreamHead {
  streamId: string
  last: bigint
  oldest: bigint
}

/** Numbered events of one stream with `after` < seq <= `upTo` that belong to the topics, at most `limit`. */
export async function readEvents(
  tx: Tx,
  query: { streamId: string; after: bigint; upTo: bigint; limit: number; filter: TopicFilter | null }
): Promise<StoredEvent[]> {
  const { filter } = query
  const wanted =
    filter === null || filter.all
      ? tx``
      : tx`and (type = any(${[...filter.types]}::text[]) or subject = any(${[...filter.subjects]}::text[])
           or type ^@ any(${filter.prefixes}::text[]))`
  const bySubject = filter && onlySubjects(filter) ? tx`and subject = any(${[...filter.subjects]}::text[])` : wanted
  const rows = await tx<EventRow[]>`
    select id, seq, tenant_id as "tenantId", stream, type, subject, at, data from core.event
    where stream_id = ${query.streamId} and seq > ${query.after.toString()} and seq <= ${query.upTo.toString()}
    ${bySubject} order by seq limit ${query.limit}`
  return rows.map(toEvent)
}

/** The newest numbered event of one subject. */
export async function readLatest(tx: Tx, streamId: string, subject: string): Promise<StoredEvent | null> {
  const rows = await tx<EventRow[]>`
    select id, seq, tenant_id as "tenantId", stream, type, subject, at, data from core.event
    where stream_id = ${streamId} and subject = ${subject} and seq is not null order by seq desc limit 1`
  return rows[0] ? toEvent(rows[0]) : null
}

/** A filter that the index by subject answers alone. */
export function onlySubjects(filter: TopicFilter): boolean {
  return !filter.all && filter.types.size === 0 && filter.prefixes.length === 0
}

/** Last and oldest seq of the streams that have had an event. */
export async function readHeads(tx: Tx, streamIds: string[]): Promise<StreamHead[]> {
  return await tx<StreamHead[]>`
    select stream_id as "streamId", last_seq as last, oldest_seq as oldest from core.stream
    where stream_id = any(${streamIds}::uuid[])`
}
