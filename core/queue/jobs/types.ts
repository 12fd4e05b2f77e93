import type { ZodType } from 'zod'
import type { Tx } from '#core/db/types.ts'

/** One run of a job. `data` has passed the definition's schema. */
export interface JobRun<T> {
  id: string
  data: T
  /** 1 at the first run. The body may run more than once: what it does needs a key of its own. */
  attempt: number
  /** Aborted when the job has used up its time or the host stops. */
  signal: AbortSignal
}

export interface JobOptions {
  /** Runs after the first one, default 4. */
  retryLimit?: number
  /** Pause before the second run in whole seconds, default 1; it doubles with every further one unless `backoff` is false. */
  retryDelaySeconds?: number
  backoff?: boolean
  /** Longest pause in seconds, default 900. */
  retryDelayMaxSeconds?: number
  /** A run that takes longer is aborted and counts as failed. Default 300. */
  expireInSeconds?: number
  /** Name of another defined job that gets the data of the ones that failed every run. Default: only kept as dead letters. */
  deadLetter?: string
  /** Runs at once on this host, fetched together; the next fetch waits for all of them. Default 8. */
  batch?: number
}

export interface SendOptions {
  /** Not before: a time, or milliseconds from now by the database's clock. */
  startAfter?: Date | number
  /** While a job of the same name, tenant and key waits for its first run, another is not added. */
  singletonKey?: string
  /** Higher goes first, default 0. */
  priority?: number
}

/** What every job of a tenant carries; beyond it ids only: contents are read when the job runs. */
export interface TenantJob {
  tenantId: string
}

export interface DeadLetter {
  id: string
  job: string
  data: Record<string, unknown>
  error: unknown
  at: Date
}

export interface Job<T> {
  readonly name: string
  readonly data: ZodType<T>
}

export interface Jobs {
  /**
   * Declares a kind of job and who does it, before `start`.
   * @param name `room.what`; also the name of its queue
   * @throws JOBS_NAME_TAKEN, JOBS_ALREADY_STARTED
   */
  define<T>(name: string, data: ZodType<T>, handler: (run: JobRun<T>) => Promise<unknown>, options?: JobOptions): Job<T>
  /**
   * Adds a job in the caller's transaction: it exists when that commits, and is then fetched at once.
   * @returns its id; null when `singletonKey` was waiting already
   * @throws JOBS_DATA_INVALID, JOBS_UNKNOWN; PostgresError 42501 for another tenant's job
   */
  send<T extends TenantJob>(tx: Tx, job: Job<T> | string, data: T, options?: SendOptions): Promise<string | null>
  /** Takes back a job that is not finished; a run at work goes on, its outcome is not recorded. @returns whether this call took it back */
  cancel(tx: Tx, job: Job<unknown> | string, id: string): Promise<boolean>
  /**
   * Runs a job by cron (five fields), once in the whole cluster, after `start`. Asking again changes the time.
   * @param timezone IANA name, default UTC
   */
  schedule(job: Job<unknown> | string, cron: string, timezone?: string, data?: Record<string, unknown>): Promise<void>
  unschedule(job: Job<unknown> | string): Promise<void>
  /** The tenant's jobs that failed every run, newest first. */
  deadLetters(tx: Tx, limit: number): Promise<DeadLetter[]>
  start(): Promise<void>
  /** Takes no more jobs, waits for those at work up to `timeoutMs` (default 20 s), then aborts them: they run again elsewhere. */
  stop(timeoutMs?: number): Promise<void>
}
