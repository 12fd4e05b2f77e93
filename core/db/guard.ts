// postgres.js 3.4.9 sends whatever is queried on a transaction object, also after the transaction ended (it then runs in
// whichever transaction has the connection now, maybe another tenant's) and after its connection broke (the write to the
// null socket is an uncaught TypeError that ends the process). Everything that leaves a transaction passes here first.
import postgres from 'postgres'
import { DatabaseUnavailable, TransactionEnded } from './errors.ts'

/** What became of one transaction or reserved connection. */
export interface Fate {
  ended: boolean
  lost: Error | undefined
  /** Rejects with DatabaseUnavailable when the connection is lost, else stays pending. */
  readonly whenLost: Promise<never>
  lose(cause: unknown): void
}

export function createFate(): Fate {
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(() => {}) // raced where it matters
  const fate: Fate = {
    ended: false,
    lost: undefined,
    whenLost: promise,
    lose(cause) {
      if (fate.lost) return
      fate.lost = cause instanceof DatabaseUnavailable ? cause : new DatabaseUnavailable('the connection broke', cause)
      reject(fate.lost)
    }
  }
  return fate
}

/** True where no answer came from the server, or it said that it goes, comes or is full (SQLSTATE 08, 57P0x, 53300). */
export function isConnectionLoss(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false
  return error instanceof postgres.PostgresError
    ? /^(08...|57P0[1-5]|53300)$/.test(error.code)
    : // Node's own: ECONNRESET, EAI_AGAIN, ERR_SOCKET_CLOSED. EVENT_TOO_LARGE is one of ours.
      /^(CONNECTION_[A-Z_]+|CONNECT_TIMEOUT|E[A-Z]+|(EAI|ERR)_[A-Z_]+)$/.test(error.code)
}

/** Errors of SQL stay what they are; a lost connection becomes DatabaseUnavailable. */
export function mapError(error: unknown): unknown {
  return isConnectionLoss(error) ? new DatabaseUnavailable('the connection failed or broke', error) : error
}

/**
 * Runs `work` again (at most 5 times in all) where the server's farewell of an earlier connection came out of it:
 * postgres.js keeps the error of a connection that was ended during a query and gives it to the first query after the
 * reconnect, which was never sent.
 * @param sent says whether anything of this work may have reached the server
 */
export async function retryStale<T>(work: () => Promise<T>, sent: () => boolean): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      const stale = error instanceof postgres.PostgresError && /^57P0[1-5]$/.test(error.code)
      if (!stale || sent() || attempt === 5) throw error
    }
  }
}

interface Query {
  handler(query: Query): void
  reject(error: unknown): void
}
type Anything = (...args: unknown[]) => unknown

function isQuery(value: unknown): value is Query {
  return value instanceof Promise && 'handler' in value && typeof value.handler === 'function' && 'reject' in value
}

/** A copy of a postgres.js sql function whose queries are refused once `fate` is sealed. */
export function guardQueries<S extends object>(sql: S, fate: Fate): S {
  const guarded = (value: unknown): unknown => {
    if (!isQuery(value)) return value
    const send = value.handler
    // Queries are lazy: they are sent when awaited, so the check belongs here and not where they are made.
    value.handler = (query) => {
      if (fate.lost) return query.reject(fate.lost)
      if (fate.ended) return query.reject(new TransactionEnded())
      const reject = query.reject
      query.reject = (error) => {
        if (isConnectionLoss(error)) fate.lose(error)
        reject(fate.lost ?? error)
      }
      send(query)
    }
    return value
  }
  const call = sql as unknown as Anything
  const members = Object.entries(sql).map(([name, member]) => [
    name,
    name === 'unsafe' || name === 'file' || name === 'notify'
      ? (...args: unknown[]) => guarded((member as Anything)(...args))
      : member
  ])
  return Object.assign((...args: unknown[]) => guarded(call(...args)), Object.fromEntries(members)) as unknown as S
}

/**
 * The result of `run`, or never anything once the connection is lost: postgres.js answers both a result (commit) and a
 * throw (rollback) with a query on the broken connection. The caller races `fate.whenLost`.
 */
export async function whileConnected<T>(fate: Fate, run: () => Promise<T>): Promise<T> {
  try {
    const result = await run()
    if (!fate.lost) return result
  } catch (error) {
    if (!fate.lost) throw error
  }
  return new Promise<never>(() => {})
}
