import type { Tx } from '#core/db/index.ts'
import type { LogLevel, LogLine } from './log.ts'

/** Stores lines; those that are there already (an attempt that ran again after a crash) stay as they are. */
export async function insertLines(
  tx: Tx,
  logs: readonly { readonly sessionId: string; readonly lines: readonly LogLine[] }[]
): Promise<void> {
  const rows = logs.flatMap(({ sessionId, lines }) => lines.map((line) => ({ sessionId, ...line })))
  if (rows.length === 0) return
  await tx`
    insert into pulse.log (session_id, id, step, undo, attempt, n, level, message, at)
    select l."sessionId", l.id, l.step, l.undo, l.attempt, l.n, l.level, l.message, l.at
    from jsonb_to_recordset(${tx.json(rows as never)}) as l("sessionId" uuid, id uuid, step text, undo boolean,
      attempt int, n int, level text, message text, at timestamptz)
    on conflict do nothing`
}

export interface LogQuery {
  readonly sessionId: string
  readonly step?: string | undefined
  readonly level?: LogLevel | undefined
  /** Only lines after this one. */
  readonly after: string | null
  readonly limit: number
}

export interface LogRow {
  readonly id: string
  readonly step: string
  readonly undo: boolean
  readonly attempt: number
  readonly level: LogLevel
  readonly message: string
  readonly at: Date
  /** `at` as Postgres writes it, for the cursor. */
  readonly position: string
}

/** Oldest first: ids are UUIDv7. */
export async function readLines(tx: Tx, { sessionId, step, level, after, limit }: LogQuery): Promise<LogRow[]> {
  return await tx<LogRow[]>`
    select id, step, undo, attempt, level, message, at, at::text as position from pulse.log
    where tenant_id = (select core.tenant()) and session_id = ${sessionId}
      ${after === null ? tx`` : tx`and id > ${after}`}
      ${step === undefined ? tx`` : tx`and step = ${step}`}
      ${level === undefined ? tx`` : tx`and level = ${level}`}
    order by id limit ${limit}`
}
