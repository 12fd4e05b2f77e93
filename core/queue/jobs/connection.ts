import type { Db as BossDb } from 'pg-boss'
import type { ReservedSql } from 'postgres'
import { DatabaseUnavailable } from '#core/db/errors.ts'
import { isConnectionLoss } from '#core/db/guard.ts'
import type { Db, ReservedConnection, Tx } from '#core/db/types.ts'

type Executor = Pick<ReservedSql, 'unsafe'> | Tx
type Row = Record<string, unknown>

/**
 * pg-boss's own statements, over one agentos_system connection that is replaced when it breaks. One is enough: its
 * queries are short and travel one behind the other. Reserved, because some texts are several statements with BEGIN.
 */
export function bossConnection(db: Db): BossDb & { close(): void } {
  let current: Promise<ReservedConnection> | undefined
  return {
    async executeSql(text, values) {
      current ??= db.reserveSystem()
      const mine = current
      try {
        return await execute(await mine, text, values)
      } catch (error) {
        // A refused statement leaves the connection as it is; a lost one is not asked again.
        if (isLost(error) && current === mine) {
          current = undefined
          mine.then((connection) => connection.release()).catch(() => {})
        }
        throw error
      }
    },
    close() {
      current?.then((connection) => connection.release()).catch(() => {})
      current = undefined
    }
  }
}

/** pg-boss's statements inside somebody's transaction, under his policies. */
export function bossTransaction(tx: Tx): BossDb {
  return { executeSql: (text, values) => execute(tx, text, values) }
}

async function execute(on: Executor, text: string, values?: unknown[]): Promise<{ rows: Row[] }> {
  // Prepared: 2.3 times the throughput. A text without values may be several statements, which cannot be prepared.
  const result = values?.length
    ? await on.unsafe(text, values.map(asParameter) as never[], { prepare: true })
    : await on.unsafe(text)
  const rows: Row[] = result.some(Array.isArray) ? result.flat() : [...result]
  return { rows: rows.map(withoutBigints) }
}

function asParameter(value: unknown): unknown {
  return value === undefined ? null : value
}

// pg-boss was written for node-postgres, which gives int8 as text; its JSON.stringify would choke on a bigint.
function withoutBigints(row: Row): Row {
  for (const [name, value] of Object.entries(row)) if (typeof value === 'bigint') row[name] = value.toString()
  return row
}

function isLost(error: unknown): boolean {
  return error instanceof DatabaseUnavailable || isConnectionLoss(error)
}
