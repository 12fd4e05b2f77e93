import { hash } from 'node:crypto'
import type { Tx } from '#core/db/index.ts'
import type { CallRecord, RecordedHostCall } from '#core/ports/tools.ts'

/** One host call as the journal holds it. */
export interface JournalEntry extends Omit<RecordedHostCall, 'digest'> {
  /** Where it called another tool: that call's record. */
  call: CallRecord | null
}

/** sha256 hex of everything that a replay relies on. */
export function digestOfHostCall({ n, name, args, ok, answer, landed }: Omit<RecordedHostCall, 'digest'>): string {
  return hash('sha256', JSON.stringify([n, name, args, ok, answer, landed]))
}

/**
 * sha256 hex over the digests of the host calls whose answers the guest heard, in program order: it stands in the call's
 * record. Null where it heard none. What it did not wait for may be journaled or not.
 */
export function digestOfJournal(digests: ReadonlyMap<number, string>, wakes: readonly number[]): string | null {
  const heard = [...new Set(wakes)].sort((a, b) => a - b).flatMap((n) => digests.get(n) ?? [])
  return heard.length === 0 ? null : hash('sha256', heard.join('\n'))
}

/** What an earlier run of the same attempt journaled, by n; empty for the first run. */
export async function readJournal(
  tx: Tx,
  sessionId: string,
  callKey: string
): Promise<{ time: number | null; entries: Map<number, JournalEntry & { digest: string }> }> {
  const rows = await tx<(JournalEntry & { digest: string; time: bigint })[]>`
    select n, name, args, ok, answer, landed, digest, time, call from tools.host_call
    where tenant_id = (select core.tenant()) and session_id = ${sessionId} and call_key = ${callKey} order by n`
  return {
    time: rows[0] ? Number(rows[0].time) : null,
    entries: new Map(rows.map(({ time: _time, ...entry }) => [entry.n, entry]))
  }
}

/**
 * @throws PostgresError 23505 where this host call is journaled already: another host runs the same attempt, and the
 *   effect of this transaction must not be
 */
export async function writeJournal(
  tx: Tx,
  sessionId: string,
  callKey: string,
  time: number,
  entry: JournalEntry
): Promise<void> {
  const { n, name, args, ok, answer, landed, call } = entry
  await tx`
    insert into tools.host_call (session_id, call_key, n, name, args, ok, answer, landed, digest, time, call)
    values (${sessionId}, ${callKey}, ${n}, ${name}, ${args}, ${ok}, ${answer}, ${landed}, ${digestOfHostCall(entry)},
            ${time}, ${call === null ? null : tx.json(call as never)})`
}

/** Bytes of all texts in it. */
export async function sizeOfSessionJournal(tx: Tx, sessionId: string): Promise<number> {
  const [row] = await tx<{ bytes: number }[]>`
    select coalesce(sum(octet_length(args) + octet_length(answer)), 0)::float8 as bytes from tools.host_call
    where tenant_id = (select core.tenant()) and session_id = ${sessionId}`
  return row?.bytes ?? 0
}

/** Every host call of a session, by the key of its call. */
export async function readSessionJournal(
  tx: Tx,
  sessionId: string
): Promise<Map<string, (JournalEntry & { digest: string })[]>> {
  const rows = await tx<(JournalEntry & { digest: string; callKey: string })[]>`
    select call_key as "callKey", n, name, args, ok, answer, landed, digest, call from tools.host_call
    where tenant_id = (select core.tenant()) and session_id = ${sessionId} order by call_key, n`
  const calls = new Map<string, (JournalEntry & { digest: string })[]>()
  for (const { callKey, ...entry } of rows) {
    const entries = calls.get(callKey) ?? []
    entries.push(entry)
    calls.set(callKey, entries)
  }
  return calls
}
