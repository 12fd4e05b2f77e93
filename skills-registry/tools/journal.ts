import { hash } from 'node:crypto'
import type { Tx } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import type { ModelAnswer } from '#core/ports/model.ts'
import type { CallRecord, RecordedHostCall } from '#core/ports/tools.ts'
import type { Spent } from './budget.ts'

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

/** What an earlier run of the same attempt journaled. */
export interface Earlier {
  /** By n. */
  entries: Map<number, JournalEntry & { digest: string }>
  /** What it saw as now. A tool that it called may have journaled something before it did itself. Null: there was no such run. */
  time: number | null
  /** By itself and by the tools that it called; of those that never ended only what they journaled. */
  spent: Spent
}

export async function readJournal(tx: Tx, sessionId: string, callKey: string): Promise<Earlier> {
  // The keys of called tools go on with a '/', and '0' is the next character.
  const all = tx`tenant_id = (select core.tenant()) and session_id = ${sessionId}
    and call_key >= ${callKey} and call_key < ${`${callKey}0`}`
  const [rows, [sums], answers] = await Promise.all([
    tx<(JournalEntry & { digest: string })[]>`
      select n, name, args, ok, answer, landed, digest, call from tools.host_call
      where tenant_id = (select core.tenant()) and session_id = ${sessionId} and call_key = ${callKey} order by n`,
    tx<(Omit<Spent, 'tokens'> & { time: number | null })[]>`
      select min(time)::float8 as time,
        count(call)::int as calls,
        count(*) filter (where name = 'events.publish' and ok)::int as events,
        coalesce(sum(length(args) + length(answer)), 0)::float8 as "journalChars"
      from tools.host_call where ${all}`,
    // Parsed here: Postgres takes no JSON with a \u0000 in it.
    tx<{ answer: string }[]>`select answer from tools.host_call where ${all} and name = 'model.run' and ok`
  ])
  const { time, ...spent } = must(sums, 'a sum')
  const tokens = answers.reduce((sum, { answer }) => sum + tokensOf(answer), 0)
  return { time, spent: { ...spent, tokens }, entries: new Map(rows.map((entry) => [entry.n, entry])) }
}

function tokensOf(answer: string): number {
  const { usage } = JSON.parse(answer) as Pick<ModelAnswer, 'usage'>
  return usage.inputTokens + usage.outputTokens
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

/** Bytes of all texts in it, the records of called tools included. */
export async function sizeOfSessionJournal(tx: Tx, sessionId: string): Promise<number> {
  const [row] = await tx<{ bytes: number }[]>`
    select coalesce(sum(octet_length(args) + octet_length(answer) + coalesce(octet_length(call::text), 0)), 0)::float8 as bytes from tools.host_call
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
