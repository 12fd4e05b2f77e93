import type { ReservedSql, Sql, TransactionSql } from 'postgres'

/** int8 columns are JS bigint, timestamptz is Date, jsonb is parsed, column names are as written in the SQL. */
export type Types = { bigint: bigint }
export type Pool = Sql<Types>

/** One open transaction. A query on it after its end is refused, never sent. */
export type Tx = TransactionSql<Types>
export type ReservedConnection = ReservedSql<Types>

/** Who does what a transaction does: `id` of the kind's own (key id, user id, skill name, rule name, login). */
export interface Actor {
  kind: 'key' | 'user' | 'skill' | 'rule' | 'operator' | 'system'
  id: string
  requestId?: string
  /** IP address */
  from?: string
}

export interface TenantContext {
  /** uuid, lower or upper case */
  tenantId: string
  userId?: string
  /** `request.jwt.claims`, so that the same policies hold on Supabase */
  claims?: Record<string, unknown>
  /** stands in the claims as `actor`, signed with them: an audit row takes it from there */
  actor?: Actor
}

export interface TransactionOptions {
  /** Reads everything as it was at one moment, and writes nothing: repeatable read, read only. */
  snapshot?: boolean
}

export interface Db {
  /**
   * One transaction as agentos_app with tenant, user and claims set for just this transaction.
   * @param context the bare tenant id will do
   * @throws TenantInvalid (500) when the tenant id is no uuid, DatabaseUnavailable (503) when no connection is to be
   *   had or it broke; errors of SQL are thrown as postgres.js's PostgresError (with SQLSTATE in `code`)
   */
  tenant<T>(context: TenantContext | string, work: (tx: Tx) => Promise<T>, options?: TransactionOptions): Promise<T>
  /** One transaction as agentos_system: only what core.system_access gave it by name, across tenants. */
  system<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /**
   * Runs `run` once after the transaction of `tx` committed, never after a rollback (of the savepoint, where `tx` is
   * one): wake-up hints. A process that dies between the two runs nothing, so nothing may depend on it.
   */
  afterCommit(tx: Tx, run: () => void): void
  /**
   * A dedicated agentos_system connection, outside the pool, until `release()`: for session advisory locks.
   * When it breaks its queries throw DatabaseUnavailable: whatever lock it held is gone.
   */
  reserveSystem(): Promise<ReservedConnection>
  /** @throws DatabaseUnavailable */
  ping(): Promise<void>
  /** Waits up to 5 s for running transactions, then cuts them. */
  close(): Promise<void>
}

/** The part of the log that core/db uses. */
export interface DbLog {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export const silentLog: DbLog = { debug() {}, info() {}, warn() {}, error() {} }
