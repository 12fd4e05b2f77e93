import type { Timer } from '#core/clock.ts'
import type { StoredEvent } from '#core/events.ts'
import { Feed, type FeedContext } from './feed.ts'
import { Following } from './follow.ts'
import { readHeads } from './store/history.ts'
import { parseTopics } from './topics.ts'
import type { Sink, Subscription } from './types.ts'

/** The feeds of this process: one per stream that somebody here follows. */
export class Hub {
  readonly #context: FeedContext
  readonly #feeds = new Map<string, { feed: Feed; users: number }>()
  readonly #pollMs: number
  #poll: Timer | undefined
  #polling = false

  constructor(context: FeedContext, pollMs: number) {
    this.#context = context
    this.#pollMs = pollMs
  }

  start(): void {
    this.#poll = this.#context.clock.every(this.#pollMs, () => void this.#lookAtHeads())
  }

  stop(): void {
    this.#poll?.cancel()
    for (const { feed } of this.#feeds.values()) feed.close()
    this.#feeds.clear()
  }

  ingest(streamId: string, events: StoredEvent[]): void {
    this.#feeds.get(streamId)?.feed.ingest(events)
  }

  /** @throws BUS_TOPIC_INVALID */
  follow(streamId: string, topics: string[], after: bigint | undefined, sink: Sink): Subscription {
    const filter = parseTopics(topics)
    const entry = this.#enter(streamId)
    const following = new Following(entry.feed, filter, sink, this.#context, () => this.#leave(streamId, entry))
    following.open(after).catch(() => sink.failed?.())
    return following
  }

  #enter(streamId: string): { feed: Feed; users: number } {
    let entry = this.#feeds.get(streamId)
    if (!entry) {
      entry = { feed: new Feed(streamId, this.#context), users: 0 }
      this.#feeds.set(streamId, entry)
    }
    entry.users++
    return entry
  }

  #leave(streamId: string, entry: { feed: Feed; users: number }): void {
    entry.users--
    if (entry.users > 0) return
    entry.feed.close()
    if (this.#feeds.get(streamId) === entry) this.#feeds.delete(streamId)
  }

  // Another host's relay may have numbered events that the transport did not carry here.
  async #lookAtHeads(): Promise<void> {
    if (this.#polling || this.#feeds.size === 0) return
    this.#polling = true
    try {
      const heads = await this.#context.db.system((tx) => readHeads(tx, [...this.#feeds.keys()]))
      for (const head of heads) this.#feeds.get(head.streamId)?.feed.noticed(head.last, head.oldest)
    } catch (error) {
      this.#context.log.warn({ err: error }, 'feeds could not look for events of other hosts')
    } finally {
      this.#polling = false
    }
  }
}
