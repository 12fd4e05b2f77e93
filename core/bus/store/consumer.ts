import { PLATFORM_STREAM } from '#core/bus/types.ts'
import type { Tx } from '#core/db/types.ts'
import type { StoredEvent } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { type EventRow, toEvent } from './row.ts'

export interface Cursor {
  seq: bigint
  failingSeq: bigint | null
  attempts: number
  /** A failed event's pause is not over yet. */
  pausing: boolean
}

/**
 * Makes a consumer known to the relays of all hosts. One that nobody knew gets work for what each stream has already,
 * or (`from` = end) a cursor behind it.
 */
export async function introduce(tx: Tx, name: string, types: string[], from: 'start' | 'end'): Promise<void> {
  // Waits for relays that do not see the new row yet, so that no event is numbered unmarked in between.
  await tx`lock table core.stream in share mode`
  const [kind] = await tx<{ fresh: boolean }[]>`
    insert into core.consumer_kind as k (name, types) values (${name}, ${types})
    on conflict (name) do update set types = excluded.types returning (xmax = 0) as fresh`
  if (!kind?.fresh) return
  if (from === 'start')
    await tx`
      insert into core.consumer_wanted (tenant_id, name, seq)
      select stream_id, ${name}, last_seq from core.stream where last_seq > 0 and stream_id <> ${PLATFORM_STREAM}
      on conflict do nothing`
  else
    await tx`
      insert into core.consumer (tenant_id, name, seq)
      select stream_id, ${name}, last_seq from core.stream where stream_id <> ${PLATFORM_STREAM} on conflict do nothing`
}

/** Work that is due for one of the named consumers, longest waiting first. */
export function dueWork(tx: Tx, names: string[], limit: number) {
  return tx<{ tenantId: string; name: string }[]>`
    select tenant_id as "tenantId", name from core.consumer_wanted
    where not_before <= clock_timestamp() and name = any(${names}::text[]) order by not_before limit ${limit}`
}

/** Locks the consumer's cursor in this tenant; null while another host or loop holds it. */
export async function lockCursor(tx: Tx, name: string): Promise<Cursor | null> {
  const [cursor] = await selectCursor(tx, name)
  if (cursor) return cursor
  await tx`insert into core.consumer (name) values (${name}) on conflict do nothing`
  const [created] = await selectCursor(tx, name)
  return created ?? null
}

function selectCursor(tx: Tx, name: string) {
  return tx<Cursor[]>`
    select seq, failing_seq as "failingSeq", attempts, coalesce(retry_at > clock_timestamp(), false) as pausing
    from core.consumer where tenant_id = (select core.tenant()) and name = ${name} for update skip locked`
}

/** The consumer's next events and the seq that the stream has reached, out of one snapshot. */
export async function nextEvents(tx: Tx, after: bigint, types: string[], limit: number) {
  const rows = await tx<(EventRow & { head: bigint })[]>`
    select h.head, e.* from (
      select coalesce(max(seq), 0) as head from core.event where stream_id = (select core.tenant())
    ) h left join lateral (
      select id, seq, tenant_id as "tenantId", stream, type, subject, at, data from core.event
      where stream_id = (select core.tenant()) and seq > ${after.toString()} and type = any(${types}::text[])
      order by seq limit ${limit}
    ) e on true order by e.seq`
  const events: StoredEvent[] = rows.filter((row) => row.id !== null).map(toEvent)
  return { head: rows[0]?.head ?? 0n, events }
}

export async function moveCursor(tx: Tx, name: string, seq: bigint): Promise<void> {
  await tx`
    update core.consumer set seq = greatest(seq, ${seq.toString()}::bigint), failing_seq = null, attempts = 0,
      last_error = null, retry_at = null
    where tenant_id = (select core.tenant()) and name = ${name}`
}

/**
 * Counts a failed attempt at an event; at the last one the event becomes a dead letter and the cursor passes it.
 * @returns attempts so far, or null when the consumer is past this event already
 */
export async function recordFailure(
  tx: Tx,
  failure: { name: string; event: StoredEvent; error: string; maxAttempts: number; retryMs: number }
): Promise<{ attempts: number; dead: boolean; pauseMs: number } | null> {
  const { name, event, error, maxAttempts, retryMs } = failure
  const [cursor] = await tx<Pick<Cursor, 'seq' | 'failingSeq' | 'attempts'>[]>`
    select seq, failing_seq as "failingSeq", attempts from core.consumer
    where tenant_id = (select core.tenant()) and name = ${name} for update`
  if (!cursor) await tx`insert into core.consumer (name, seq) values (${name}, ${(event.seq - 1n).toString()})`
  else if (cursor.seq >= event.seq) return null
  const attempts = cursor?.failingSeq === event.seq ? cursor.attempts + 1 : 1
  if (attempts >= maxAttempts) {
    await tx`
      insert into core.dead_letter (id, consumer, event_id, seq, type, error, attempts)
      values (${newId()}, ${name}, ${event.id}, ${event.seq.toString()}, ${event.type}, ${error}, ${attempts})
      on conflict (tenant_id, consumer, event_id) do nothing`
    await moveCursor(tx, name, event.seq)
    return { attempts, dead: true, pauseMs: 0 }
  }
  const pauseMs = retryMs * 2 ** (attempts - 1)
  await tx`
    update core.consumer set failing_seq = ${event.seq.toString()}, attempts = ${attempts}, last_error = ${error},
      retry_at = clock_timestamp() + ${pauseMs}::int * interval '1 ms'
    where tenant_id = (select core.tenant()) and name = ${name}`
  return { attempts, dead: false, pauseMs }
}

/** Puts the work off after a failure. The database's clock decides when it is due. */
export async function postpone(tx: Tx, tenantId: string, name: string, ms: number): Promise<void> {
  await tx`
    update core.consumer_wanted set not_before = clock_timestamp() + ${ms}::int * interval '1 ms'
    where tenant_id = ${tenantId} and name = ${name}`
}

/**
 * Takes the mark away when the consumer has come as far as it says, or retention has: a new consumer of a stream that
 * was emptied finds no event that could move its cursor there. @returns true when there is more to do
 */
export async function settleWork(tx: Tx, tenantId: string, name: string, seq: bigint): Promise<boolean> {
  const gone = await tx`
    delete from core.consumer_wanted where tenant_id = ${tenantId} and name = ${name} and seq <= greatest(
      ${seq.toString()}::bigint, (select oldest_seq - 1 from core.stream where stream_id = ${tenantId}))`
  if (gone.count > 0) return false
  const left = await tx`select from core.consumer_wanted where tenant_id = ${tenantId} and name = ${name}`
  return left.length > 0
}
