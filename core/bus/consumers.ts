import type { Clock, Timer } from '#core/clock.ts'
import type { Db, DbLog } from '#core/db/types.ts'
import { errorMessage } from '#core/errors.ts'
import type { EventType, StoredEvent } from '#core/events.ts'
import { scrub } from '#core/scrub.ts'
import { AlreadyStarted, ConsumerNameTaken, PlatformConsumer } from './errors.ts'
import {
  dueWork,
  introduce,
  lockCursor,
  moveCursor,
  nextEvents,
  postpone,
  recordFailure,
  settleWork
} from './store/consumer.ts'
import type { ConsumerOptions, Handler } from './types.ts'

export interface ConsumersOptions {
  db: Db
  clock: Clock
  log: DbLog
  /** How long work waits when its hint was lost or another host held it. */
  pollMs: number
  /** The pause after the n-th failure is `retryMs * 2^(n-1)`. */
  retryMs: number
}

interface Consumer {
  name: string
  types: string[]
  handler: Handler<unknown>
  from: 'start' | 'end'
}

type Progress = { state: 'away' } | { state: 'done' | 'more'; seq: bigint }

const MAX_ATTEMPTS = 5
const EVENTS_PER_TRANSACTION = 100
// Each holds one connection of the pool that requests use, too.
const CONCURRENCY = 4

/** Hands numbered events to the rooms that consume them, each once in the tables. */
export class Consumers {
  readonly #options: ConsumersOptions
  readonly #byName = new Map<string, Consumer>()
  readonly #byType = new Map<string, Consumer[]>()
  readonly #waiting = new Map<string, { tenantId: string; consumer: Consumer }>()
  readonly #working = new Map<string, Promise<void>>()
  #poll: Timer | undefined
  #polling = false
  #started = false

  constructor(options: ConsumersOptions) {
    this.#options = options
  }

  // biome-ignore lint/suspicious/noExplicitAny: the handler's data type is tied to its event types by Bus.on
  add(name: string, types: EventType<any>[], handler: Handler<any>, options: ConsumerOptions = {}): void {
    if (this.#started) throw new AlreadyStarted(name)
    if (this.#byName.has(name)) throw new ConsumerNameTaken(name)
    for (const { type, stream } of types) if (stream === 'platform') throw new PlatformConsumer(name, type)
    const consumer: Consumer = { name, types: types.map((t) => t.type), handler, from: options.from ?? 'start' }
    this.#byName.set(name, consumer)
    for (const type of consumer.types) this.#byType.set(type, [...(this.#byType.get(type) ?? []), consumer])
  }

  async start(): Promise<void> {
    this.#started = true
    if (this.#byName.size === 0) return
    await this.#options.db.system(async (tx) => {
      // sorted: two hosts that start at once take the rows in the same order
      for (const name of [...this.#byName.keys()].sort()) {
        const consumer = this.#byName.get(name)
        if (consumer) await introduce(tx, name, consumer.types, consumer.from)
      }
    })
    this.#poll = this.#options.clock.every(this.#options.pollMs, () => void this.#lookForDue())
    await this.#lookForDue()
  }

  /** Ends after the transactions that are on their way. */
  async stop(): Promise<void> {
    this.#started = false
    this.#poll?.cancel()
    this.#waiting.clear()
    await Promise.all(this.#working.values())
  }

  /** Events that were just numbered in a tenant's stream. */
  noticed(tenantId: string, events: StoredEvent[]): void {
    for (const type of new Set(events.map((event) => event.type)))
      for (const consumer of this.#byType.get(type) ?? []) this.#enqueue(tenantId, consumer)
  }

  #enqueue(tenantId: string, consumer: Consumer): void {
    if (!this.#started) return
    this.#waiting.set(`${tenantId} ${consumer.name}`, { tenantId, consumer })
    this.#next()
  }

  #next(): void {
    for (const [key, { tenantId, consumer }] of this.#waiting) {
      if (this.#working.size >= CONCURRENCY) return
      if (this.#working.has(key)) continue
      this.#waiting.delete(key)
      const work = this.#catchUp(tenantId, consumer)
        .catch((error) =>
          this.#options.log.warn({ err: error, consumer: consumer.name }, 'a consumer waits for the database')
        )
        .finally(() => {
          this.#working.delete(key)
          this.#next()
        })
      this.#working.set(key, work)
    }
  }

  async #lookForDue(): Promise<void> {
    if (this.#polling) return
    this.#polling = true
    try {
      const due = await this.#options.db.system((tx) => dueWork(tx, [...this.#byName.keys()], 200))
      for (const { tenantId, name } of due) {
        const consumer = this.#byName.get(name)
        if (consumer) this.#enqueue(tenantId, consumer)
      }
    } catch (error) {
      this.#options.log.warn({ err: error }, 'consumers could not look for due work')
    } finally {
      this.#polling = false
    }
  }

  async #catchUp(tenantId: string, consumer: Consumer): Promise<void> {
    let limit = EVENTS_PER_TRANSACTION
    while (this.#started) {
      const failed: { event?: StoredEvent; index: number } = { index: -1 }
      let progress: Progress
      try {
        progress = await this.#handle(tenantId, consumer, limit, failed)
      } catch (error) {
        if (!failed.event) throw error
        // The good ones before it were rolled back with it: they go again, without it.
        if (failed.index > 0) limit = failed.index
        else if (await this.#fail(tenantId, consumer, failed.event, error)) return
        continue
      }
      limit = EVENTS_PER_TRANSACTION
      // Whoever holds the cursor looks for more before he goes; a pause ends by its timer or the poll.
      if (progress.state === 'away') return
      if (progress.state === 'more') continue
      const { seq } = progress
      if (!(await this.#options.db.system((tx) => settleWork(tx, tenantId, consumer.name, seq)))) return
    }
  }

  async #handle(
    tenantId: string,
    consumer: Consumer,
    limit: number,
    failed: { event?: StoredEvent; index: number }
  ): Promise<Progress> {
    return await this.#options.db.tenant(tenantId, async (tx) => {
      const cursor = await lockCursor(tx, consumer.name)
      if (!cursor || cursor.pausing) return { state: 'away' }
      const { head, events } = await nextEvents(tx, cursor.seq, consumer.types, limit)
      for (const [index, event] of events.entries()) {
        // stays set until the commit: a constraint that is checked only there is the last event's fault, too
        failed.event = event
        failed.index = index
        await consumer.handler(tx, event)
      }
      const full = events.length >= limit
      const seq = (full && events.at(-1)?.seq) || head
      if (seq <= cursor.seq) return { state: 'done', seq: cursor.seq }
      await moveCursor(tx, consumer.name, seq)
      return { state: full ? 'more' : 'done', seq }
    })
  }

  /** @returns true when the work has to wait before its next attempt */
  async #fail(tenantId: string, consumer: Consumer, event: StoredEvent, error: unknown): Promise<boolean> {
    const { db, log, clock, retryMs } = this.#options
    const text = scrub(errorMessage(error)).slice(0, 2000) // scrubbed first: half a secret would not be found
    const failure = { name: consumer.name, event, error: text, maxAttempts: MAX_ATTEMPTS, retryMs }
    const outcome = await db.tenant(tenantId, (tx) => recordFailure(tx, failure))
    if (!outcome) return false
    const fields = { err: error, consumer: consumer.name, type: event.type, eventId: event.id, ...outcome }
    if (outcome.dead) {
      log.error(fields, 'an event became a dead letter')
      return false
    }
    log.warn(fields, 'a consumer failed and tries the event again')
    await db.system((tx) => postpone(tx, tenantId, consumer.name, outcome.pauseMs))
    clock.after(outcome.pauseMs + 1, () => this.#enqueue(tenantId, consumer))
    return true
  }
}
