import type { Tx } from '#core/db/types.ts'
import type { EventType, PendingEvent, StoredEvent, StreamKind } from '#core/events.ts'

/** The stream that every platform event is numbered in. */
export const PLATFORM_STREAM = '00000000-0000-0000-0000-000000000000'

/** What is followed. Without `after` only what comes from now on; `stream` decides whose seq `after` is. */
export interface FollowQuery {
  topics: string[]
  after?: bigint
  stream?: StreamKind
}

/** Where a subscription began: events with seq in (from, to] come from history, later ones live. */
export interface Opening {
  from: bigint
  to: bigint
}

/** Takes a subscription's events; its calls come one at a time, in the order of seq. */
export interface Sink {
  /** Once, before the first event. */
  opened?(opening: Opening): void
  /**
   * Takes events from the front and says how many. With fewer than all the subscription pauses until `resume()` and
   * reads the rest again from the table: nothing waits in memory for a slow reader.
   */
  push(events: StoredEvent[]): number
  /** History does not reach back to `after`: the next event is `oldest` or a later one. */
  resync?(oldest: bigint): void
  /** The subscription could not begin (the database was away); it is closed. */
  failed?(): void
}

export interface Subscription {
  resume(): void
  close(): void
}

export interface HistoryQuery {
  after: bigint
  limit: number
  topics?: string[]
  stream?: StreamKind
}

export type Handler<T> = (tx: Tx, event: StoredEvent & { data: T }) => Promise<void>

/** `from`: where a consumer nobody knew before begins, at each stream's first event (default) or after its last. */
export interface ConsumerOptions {
  from?: 'start' | 'end'
}

export interface RetainOptions {
  /** Default: every stream. */
  streamId?: string
  /** Ends the sweep between two transactions. */
  signal?: AbortSignal
  /** Events of one transaction, default 5000. */
  batch?: number
}

export interface Bus {
  /**
   * Writes the event into the sender's transaction and wakes the relay after its commit.
   * @throws EVENT_INVALID, EVENT_TOO_LARGE before anything is written
   */
  emit<T>(tx: Tx, type: EventType<T>, subjectId: string, data: T): Promise<void>
  /** Many events in one insert; their order is kept. The system's transactions name each event's tenant. */
  emitAll(tx: Tx, events: PendingEvent[]): Promise<void>
  /**
   * Handles each event once in the tables: the handler runs in the transaction that moves the consumer's cursor.
   * A failing handler is tried 5 times with growing pauses, then the event goes to core.dead_letter.
   * @throws BUS_CONSUMER_TAKEN, BUS_PLATFORM_CONSUMER, BUS_ALREADY_STARTED
   */
  on<T>(consumer: string, types: EventType<T> | EventType<T>[], handler: Handler<T>, options?: ConsumerOptions): void
  /** Numbered events after `after`, at most `limit`, by seq. @throws BUS_TOPIC_INVALID */
  history(tenantId: string, query: HistoryQuery): Promise<StoredEvent[]>
  /** The newest numbered event of one subject in the tenant's stream, as far as history reaches. */
  latest(tenantId: string, subject: string): Promise<StoredEvent | null>
  /** The last seq given and the oldest that history still has. */
  head(tenantId: string, stream?: StreamKind): Promise<{ last: bigint; oldest: bigint }>
  /** History, then live, without gap or double. @throws BUS_TOPIC_INVALID */
  follow(tenantId: string, query: FollowQuery, sink: Sink): Subscription
  /** Wakes the relay for this tenant now. */
  hint(tenantId: string): void
  /**
   * Deletes what is older, oldest first and in small transactions, never what a consumer still wants. One stream, or all
   * of them: the hourly sweep, where EVENT_RETENTION_DAYS is set.
   * @returns how many events went
   */
  retain(olderThanMs: number, options?: RetainOptions): Promise<number>
  start(): Promise<void>
  stop(): Promise<void>
}
