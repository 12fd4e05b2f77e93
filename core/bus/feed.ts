import type { Clock } from '#core/clock.ts'
import type { Db, DbLog } from '#core/db/types.ts'
import type { StoredEvent } from '#core/events.ts'
import { readEvents, readHeads } from './store/history.ts'
import type { TopicFilter } from './topics.ts'
import { PLATFORM_STREAM } from './types.ts'

/** What a feed needs of the process around it. */
export interface FeedContext {
  db: Db
  clock: Clock
  log: DbLog
}

export interface Follower {
  /** Events in the order of seq, none missing since the feed's `seq` at the time the follower was added. */
  live(events: StoredEvent[]): void
}

const PAGE = 500
const TROUBLE_MS = 250

/**
 * One stream as this process sees it: contiguous from the moment it was opened. The transport may lose, repeat or
 * reorder; whatever does not follow directly is read from core.event.
 */
export class Feed {
  readonly streamId: string
  readonly followers = new Set<Follower>()
  readonly ready: Promise<void>
  /** Every event up to here has been handed to the followers. */
  seq = 0n
  oldest = 1n
  #head = 0n
  #open = false
  #reading = false
  #closed = false
  readonly #context: FeedContext

  constructor(streamId: string, context: FeedContext) {
    this.streamId = streamId
    this.#context = context
    this.ready = this.#begin()
  }

  close(): void {
    this.#closed = true
  }

  async #begin(): Promise<void> {
    const head = await headOf(this.#context.db, this.streamId)
    this.seq = head.last
    this.oldest = head.oldest
    this.#open = true
    void this.#catchUp()
  }

  /** The stream is known to have come this far. */
  noticed(head: bigint, oldest: bigint): void {
    if (oldest > this.oldest) this.oldest = oldest
    if (head > this.#head) this.#head = head
    void this.#catchUp()
  }

  /** Events from the transport. */
  ingest(events: StoredEvent[]): void {
    const last = events.at(-1)
    if (!last) return
    if (last.seq > this.#head) this.#head = last.seq
    if (!this.#open) return
    this.#deliver(events)
    void this.#catchUp()
  }

  #deliver(events: StoredEvent[]): void {
    const start = events.findIndex((event) => event.seq === this.seq + 1n)
    if (start < 0) return
    const fresh = start === 0 ? events : events.slice(start)
    this.seq = fresh.at(-1)?.seq ?? this.seq
    for (const follower of [...this.followers]) follower.live(fresh)
  }

  async #catchUp(): Promise<void> {
    if (this.#reading || !this.#open) return
    this.#reading = true
    try {
      while (!this.#closed && this.seq < this.#head) {
        const query = { streamId: this.streamId, after: this.seq, upTo: this.#head, limit: PAGE, filter: null }
        const page = await read(this.#context.db, query)
        // Retention took what was missing: go on where history begins.
        const first = page[0]
        if (!first) this.seq = this.#head
        else if (first.seq > this.seq + 1n) this.seq = first.seq - 1n
        this.#deliver(page)
      }
    } catch (error) {
      this.#context.log.warn({ err: error, streamId: this.streamId }, 'a feed waits for the database')
      this.#context.clock.after(TROUBLE_MS, () => void this.#catchUp())
    } finally {
      this.#reading = false
    }
  }
}

/** Reads a stream under the tenant's own policies; the platform's stream as the system, to whom it belongs. */
export async function read(
  db: Db,
  query: { streamId: string; after: bigint; upTo: bigint; limit: number; filter: TopicFilter | null }
): Promise<StoredEvent[]> {
  if (query.streamId === PLATFORM_STREAM) return await db.system((tx) => readEvents(tx, query))
  return await db.tenant(query.streamId, (tx) => readEvents(tx, query))
}

/** Last and oldest seq; a stream without events is at 0. */
export async function headOf(db: Db, streamId: string): Promise<{ last: bigint; oldest: bigint }> {
  const [head] = await db.system((tx) => readHeads(tx, [streamId]))
  return { last: head?.last ?? 0n, oldest: head?.oldest ?? 1n }
}
