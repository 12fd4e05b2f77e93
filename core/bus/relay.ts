import type { Clock, Timer } from '#core/clock.ts'
import { crashPoint } from '#core/crash-point.ts'
import type { Db, DbLog } from '#core/db/types.ts'
import type { StoredEvent } from '#core/events.ts'
import { byStream, createStreams, lockStreams, numberEvents, waitingStreams } from './store/relay.ts'

export interface RelayOptions {
  db: Db
  clock: Clock
  log: DbLog
  /** Called after the commit, once per stream and batch, in the order of seq. */
  publish: (streamId: string, events: StoredEvent[]) => void
  /** How long an event waits when its hint was lost (its host died after the commit). */
  pollMs: number
}

const STREAMS_PER_BATCH = 64
const EVENTS_PER_BATCH = 2000
// Another relay may have looked just before our sender's commit; it is done within a few milliseconds.
const BUSY_RETRY_MS = 5
const TROUBLE_MS = 250

/**
 * Gives events their seq. Hints collect while a batch is on its way and make up the next one, so an idle relay starts
 * at once and a busy one works in large batches without a timer.
 */
export class Relay {
  readonly #options: RelayOptions
  readonly #hinted = new Set<string>()
  #running: Promise<void> | undefined
  #poll: Timer | undefined
  #polling = false
  #stopped = true

  constructor(options: RelayOptions) {
    this.#options = options
  }

  start(): void {
    this.#stopped = false
    this.#poll = this.#options.clock.every(this.#options.pollMs, () => void this.#lookForLost())
    void this.#lookForLost()
  }

  /** Ends after the batch that is on its way; what is left waits in the table for another host or the next start. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#poll?.cancel()
    await this.#running
  }

  hint(streamId: string): void {
    if (this.#stopped) return
    this.#hinted.add(streamId)
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      const [left] = this.#hinted
      if (left !== undefined) this.hint(left)
    })
  }

  async #run(): Promise<void> {
    while (this.#hinted.size > 0 && !this.#stopped) {
      const batch = [...this.#hinted].slice(0, STREAMS_PER_BATCH)
      for (const streamId of batch) this.#hinted.delete(streamId)
      try {
        await this.#relay(batch)
      } catch (error) {
        // Nothing is lost: the rows wait. Hints of this batch come back through the poll.
        this.#options.log.warn({ err: error }, 'the relay could not number events and tries again')
        await this.#options.clock.sleep(TROUBLE_MS)
      }
    }
  }

  async #relay(streamIds: string[]): Promise<void> {
    const limit = Math.max(20, Math.floor(EVENTS_PER_BATCH / streamIds.length))
    const { locked, events } = await this.#options.db.system(async (tx) => {
      let locked: { streamId: string; lastSeq: bigint }[] = await lockStreams(tx, streamIds)
      if (locked.length < streamIds.length) {
        // Streams without a row yet; ours by the lock of their insert, or another relay's.
        const missing = streamIds.filter((id) => !locked.some((stream) => stream.streamId === id)).sort()
        await createStreams(tx, missing)
        locked = [...locked, ...(await lockStreams(tx, missing))]
      }
      return { locked, events: byStream(locked.length > 0 ? await numberEvents(tx, locked, limit) : []) }
    })
    if (events.size > 0) crashPoint('relay-sequenced')
    for (const [streamId, batch] of events) {
      this.#options.publish(streamId, batch)
      if (batch.length >= limit) this.#hinted.add(streamId)
    }
    const busy = streamIds.filter((id) => !locked.some((stream) => stream.streamId === id))
    if (busy.length === 0) return
    this.#options.clock.after(BUSY_RETRY_MS, () => {
      for (const streamId of busy) this.hint(streamId)
    })
  }

  async #lookForLost(): Promise<void> {
    if (this.#polling || this.#stopped) return
    this.#polling = true
    try {
      const waiting = await this.#options.db.system((tx) => waitingStreams(tx, STREAMS_PER_BATCH * 16))
      for (const { streamId } of waiting) this.hint(streamId)
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the relay could not look for waiting events')
    } finally {
      this.#polling = false
    }
  }
}
