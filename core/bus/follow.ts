import type { StoredEvent } from '#core/events.ts'
import { type Feed, type FeedContext, type Follower, read } from './feed.ts'
import { onlySubjects } from './store/history.ts'
import { matches, type TopicFilter } from './topics.ts'
import type { Sink, Subscription } from './types.ts'

const PAGE = 200
// A rare topic in a long history: no statement looks through more than this many events.
const WINDOW = 20_000n
const TROUBLE_MS = 250

/**
 * One subscription. It reads history up to where its feed is, then takes what the feed gives, in the same turn of the
 * event loop, so nothing fits in between. A sink that is full sends it back to reading from where it was: what a slow
 * client has not taken waits in the table, not in memory.
 */
export class Following implements Follower, Subscription {
  readonly #feed: Feed
  readonly #filter: TopicFilter
  readonly #sink: Sink
  readonly #context: FeedContext
  readonly #onClose: () => void
  #cursor = 0n
  #mode: 'opening' | 'reading' | 'live' | 'full' | 'closed' = 'opening'

  constructor(feed: Feed, filter: TopicFilter, sink: Sink, context: FeedContext, onClose: () => void) {
    this.#feed = feed
    this.#filter = filter
    this.#sink = sink
    this.#context = context
    this.#onClose = onClose
  }

  /** @param after undefined: only what comes from now on; beyond the stream's end it is the end */
  async open(after: bigint | undefined): Promise<void> {
    try {
      await this.#feed.ready
    } catch (error) {
      this.#context.log.warn({ err: error }, 'a subscription could not begin')
      this.close() // the feed goes with its last follower; the next one makes another
      throw error
    }
    if (this.#mode === 'closed') return
    const to = this.#feed.seq
    this.#cursor = after === undefined || after > to ? to : after
    this.#sink.opened?.({ from: this.#cursor, to })
    this.#mode = 'reading'
    this.#feed.followers.add(this)
    await this.#read()
  }

  live(events: StoredEvent[]): void {
    if (this.#mode !== 'live') return
    this.#take(events)
  }

  resume(): void {
    if (this.#mode !== 'full') return
    this.#mode = 'reading'
    void this.#read()
  }

  close(): void {
    if (this.#mode === 'closed') return
    this.#mode = 'closed'
    this.#feed.followers.delete(this)
    this.#onClose()
  }

  async #read(): Promise<void> {
    try {
      while (this.#mode === 'reading') {
        if (this.#cursor >= this.#feed.seq) {
          this.#mode = 'live'
          return
        }
        if (this.#cursor + 1n < this.#feed.oldest) {
          this.#cursor = this.#feed.oldest - 1n
          this.#sink.resync?.(this.#feed.oldest)
        }
        const { streamId, seq } = this.#feed
        const far = seq - this.#cursor > WINDOW && !onlySubjects(this.#filter)
        const upTo = far ? this.#cursor + WINDOW : seq
        const query = { streamId, after: this.#cursor, upTo, limit: PAGE, filter: this.#filter }
        const page = await read(this.#context.db, query)
        if (this.#mode !== 'reading') return
        this.#push(page, page.length < PAGE ? upTo : (page.at(-1)?.seq ?? upTo))
      }
    } catch (error) {
      this.#context.log.warn({ err: error }, 'a subscription waits for the database')
      if (this.#mode === 'reading') this.#context.clock.after(TROUBLE_MS, () => void this.#read())
    }
  }

  #take(events: StoredEvent[]): void {
    const wanted = events.filter((event) => event.seq > this.#cursor && matches(this.#filter, event))
    this.#push(wanted, events.at(-1)?.seq ?? this.#cursor)
  }

  /** @param reached the cursor when the sink takes everything */
  #push(events: StoredEvent[], reached: bigint): void {
    const taken = events.length > 0 ? this.#sink.push(events) : 0
    if (this.#mode === 'closed') return // by the sink, inside push
    if (taken >= events.length) {
      this.#cursor = reached
      return
    }
    this.#cursor = events[taken - 1]?.seq ?? this.#cursor
    this.#mode = 'full'
  }
}
