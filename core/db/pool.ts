import postgres from 'postgres'
import { type Clock, systemClock } from '#core/clock.ts'
import type { Secret } from '#core/secret.ts'
import { arrayTypes } from './arrays.ts'
import { DatabaseUnavailable, IsolationBroken, TenantInvalid } from './errors.ts'
import { createGate } from './gate.ts'
import { createFate, guardQueries, mapError, retryStale } from './guard.ts'
import { createSigner } from './signature.ts'
import { afterCommit, transaction } from './transaction.ts'
import {
  type Db,
  type DbLog,
  type Pool,
  type ReservedConnection,
  silentLog,
  type TenantContext,
  type Tx
} from './types.ts'

export interface OpenDbOptions {
  /** login of agentos_app */
  appUrl: string
  /** login of agentos_system */
  systemUrl: string
  /** of deriveSecrets: signs the tenant of each transaction; core.tenant() knows it from migrate() */
  tenantHmacKey: Secret
  /** connections, default 16 */
  appPool?: number
  /** connections, default 6 */
  systemPool?: number
  /** default 30 s; a single statement never runs longer */
  statementTimeoutMs?: number
  /** default 10 s: waiting for one row or table lock */
  lockTimeoutMs?: number
  /** default 30 s: a transaction in which nothing happens is ended by the server */
  idleInTransactionTimeoutMs?: number
  /** default 5 s: waiting for a free connection */
  acquireTimeoutMs?: number
  /** default 2 s */
  connectTimeoutMs?: number
  clock?: Clock
  log?: DbLog
  /** Sees each statement as it is sent, without its values. For tests that compare what the database is asked. */
  onQuery?: (sql: string) => void
}

const pingTimeoutMs = 2000
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * Opens the two pools and proves that both logins are bound by row level security.
 * @throws DatabaseUnavailable, IsolationBroken (a login is superuser, has BYPASSRLS or another role)
 */
export async function openDb(options: OpenDbOptions): Promise<Db> {
  const log = options.log ?? silentLog
  const clock = options.clock ?? systemClock
  const waitMs = options.acquireTimeoutMs ?? 5000
  const appPlaces = options.appPool ?? 16
  const systemPlaces = options.systemPool ?? 6
  const app = connect(options.appUrl, appPlaces, 'agentos app', options)
  const system = connect(options.systemUrl, systemPlaces, 'agentos system', options)
  // Up to 64 waiters per connection: at 5 ms a transaction that is 0.3 s of queue.
  const appGate = createGate({ places: appPlaces, waiting: appPlaces * 64, waitMs, clock })
  const systemGate = createGate({ places: systemPlaces, waiting: systemPlaces * 64, waitMs, clock })
  const sign = createSigner(options.tenantHmacKey)
  const reserved = new Set<Pool>()
  const end = async (seconds: number) => {
    await Promise.all([app, system, ...reserved].map((pool) => pool.end({ timeout: seconds })))
  }
  const hookFailed = (error: unknown) => log.error({ err: error }, 'a hook after commit failed')

  const db: Db = {
    async tenant(context, work, { snapshot = false } = {}) {
      const given: TenantContext = typeof context === 'string' ? { tenantId: context } : context
      const tenantId = given.tenantId.toLowerCase()
      if (!uuid.test(tenantId)) throw new TenantInvalid(given.tenantId)
      const settings = sign({ ...given, tenantId })
      const enter = (tx: Tx) => {
        // Parameters, never literals: other sessions of agentos_app see this one's statement in pg_stat_activity.
        tx`select core.enter(${settings.tenant}, ${settings.user}, ${settings.claims}, ${settings.signature})`
          .execute()
          .catch(() => {}) // thrown by the transaction itself
      }
      return transaction(
        app,
        appGate,
        enter,
        work,
        hookFailed,
        snapshot ? 'isolation level repeatable read read only' : 'isolation level read committed read write'
      )
    },
    system: (work) => transaction(system, systemGate, undefined, work, hookFailed),
    afterCommit,
    async reserveSystem() {
      const single = connect(options.systemUrl, 1, 'agentos system reserved', options, () => fate.lose(undefined))
      const fate = createFate()
      reserved.add(single)
      const close = async () => {
        fate.ended = true
        reserved.delete(single)
        await single.end({ timeout: 1 }).catch(() => {})
      }
      try {
        // Opened by a query first: without fetch_types a connection that reserve() opens itself never answers (3.4.9).
        const reserve = async () => {
          await single`select 1`
          return await single.reserve()
        }
        const connection = await Promise.race([reserve(), fate.whenLost])
        const release = () => {
          if (!fate.ended) void close()
        }
        return Object.assign(guardQueries(connection, fate), { release }) as ReservedConnection
      } catch (error) {
        await close()
        throw mapError(error)
      }
    },
    async ping() {
      const ask = (pool: Pool) =>
        retryStale(
          async () => pool`select 1`,
          () => false
        )
      const answer = Promise.all([ask(app), ask(system)])
      answer.catch(() => {})
      const patience = new AbortController()
      const silence = clock.sleep(pingTimeoutMs, patience.signal).then(() => {
        throw new DatabaseUnavailable(`no answer within ${pingTimeoutMs} ms`)
      })
      silence.catch(() => {})
      try {
        await Promise.race([answer, silence])
      } catch (error) {
        throw mapError(error)
      } finally {
        patience.abort()
      }
    },
    close: () => end(5)
  }
  try {
    // Both to their end: a connection that is cut while it is being set up is an unhandled rejection of postgres.js.
    const proofs = await Promise.allSettled([refuseBypass(app, 'agentos_app'), refuseBypass(system, 'agentos_system')])
    for (const proof of proofs) if (proof.status === 'rejected') throw proof.reason
  } catch (error) {
    await end(0)
    throw mapError(error)
  }
  return db
}

// Logins given by an operator (DATABASE_APP_URL) may have other names, as members of our roles.
async function refuseBypass(pool: Pool, role: 'agentos_app' | 'agentos_system'): Promise<void> {
  const rows = await pool<{ rule: string; name: string }[]>`
    select case when rolsuper or rolbypassrls then 'role_bypass' else 'wrong_role' end as rule, rolname as name
    from pg_catalog.pg_roles where rolname = session_user
      and (rolsuper or rolbypassrls or coalesce(not pg_has_role(oid, to_regrole(${role}), 'member'), true))`
  if (rows.length > 0) throw new IsolationBroken(rows.map((row) => ({ rule: row.rule, object: row.name })))
}

function connect(url: string, max: number, name: string, options: OpenDbOptions, onclose?: () => void): Pool {
  return postgres(url, {
    max,
    types: { bigint: postgres.BigInt, ...arrayTypes },
    fetch_types: false,
    connect_timeout: (options.connectTimeoutMs ?? 2000) / 1000,
    // The default waits up to 20 s before it connects again, and requests wait with it.
    backoff: () => 0.1,
    onnotice: () => {},
    ...(options.onQuery ? { debug: (_connection: number, sql: string) => options.onQuery?.(sql) } : {}),
    // The one reserved connection holds session locks: it must not be replaced after its 30 to 60 minutes.
    ...(onclose ? { onclose, max_lifetime: null } : {}),
    connection: {
      application_name: name,
      statement_timeout: options.statementTimeoutMs ?? 30_000,
      lock_timeout: options.lockTimeoutMs ?? 10_000,
      idle_in_transaction_session_timeout: options.idleInTransactionTimeoutMs ?? 30_000
    }
  })
}
