import { z } from 'zod'
import { parseTopics, splitByStream } from '#core/bus/topics.ts'
import type { Bus, Opening, Subscription } from '#core/bus/types.ts'
import type { StoredEvent, StreamKind } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { SubscriptionUnknown, TooManySubscriptions } from './errors.ts'
import { batchFrame, eventFrame } from './frames.ts'
import type { Outlet } from './outlet.ts'

export const SubscribeParams = z.strictObject({
  topics: z.array(z.string().min(1).max(256)).min(1).max(100),
  after: z.int().nonnegative().optional()
})
export type SubscribeParams = z.output<typeof SubscribeParams>

export const UnsubscribeParams = z.strictObject({ subscription: z.string().min(1).max(64) })

const MAX_SUBSCRIPTIONS = 100
// Events of one frame, when the client takes batches.
const BATCH_BYTES = 128 * 1024

/** The subscriptions of one connection. */
export class Subscriptions {
  readonly #bus: Bus
  readonly #outlet: Outlet
  readonly #open = new Map<string, Subscription[]>()
  batch = false

  constructor(bus: Bus, outlet: Outlet) {
    this.#bus = bus
    this.#outlet = outlet
  }

  get size(): number {
    return this.#open.size
  }

  /**
   * Begins to follow. Topics of the platform's stream have a seq of their own: beside a tenant's topics they come from
   * now on, alone `after` is theirs.
   * @param answer is called before the first event, in the same turn
   * @throws BUS_TOPIC_INVALID, WS_TOO_MANY_SUBSCRIPTIONS
   */
  subscribe(tenantId: string, params: SubscribeParams, answer: (answer: object) => void, fail: () => void): void {
    if (this.#open.size >= MAX_SUBSCRIPTIONS) throw new TooManySubscriptions(MAX_SUBSCRIPTIONS)
    parseTopics(params.topics) // all of them, before the first stream is followed
    const id = newId()
    const { tenant, platform } = splitByStream(params.topics)
    const wanted: [StreamKind, string[]][] = [
      ['tenant', tenant],
      ['platform', platform]
    ]
    const streams = wanted.filter(([, topics]) => topics.length > 0)
    const openings: Opening[] = []
    const parts: Subscription[] = []
    const resyncs: bigint[] = []
    let answered = false
    for (const [i, [stream, topics]] of streams.entries()) {
      const after = i === 0 ? params.after : undefined
      const part: Subscription = this.#bus.follow(
        tenantId,
        { topics, stream, ...(after === undefined ? {} : { after: BigInt(after) }) },
        {
          opened: (at) => {
            openings[i] = at
            // Both streams are held before the client hears: what it causes from then on reaches it.
            if (Object.keys(openings).length < streams.length) return
            const { from, to } = openings[0] ?? at
            answer({ subscription: id, from: Number(from), to: Number(to) })
            answered = true
            for (const oldest of resyncs) this.#resync(id, oldest)
            for (const other of parts) other.resume()
          },
          failed: () => {
            if (this.#open.has(id)) this.unsubscribe(id)
            fail()
          },
          resync: (oldest) => {
            if (answered) this.#resync(id, oldest)
            else resyncs.push(oldest)
          },
          push: (events) => (answered ? this.#send(id, events, () => part.resume()) : 0)
        }
      )
      parts.push(part)
    }
    this.#open.set(id, parts)
  }

  /** @throws WS_SUBSCRIPTION_UNKNOWN */
  unsubscribe(id: string): void {
    const parts = this.#open.get(id)
    if (!parts) throw new SubscriptionUnknown()
    this.#open.delete(id)
    for (const part of parts) part.close()
  }

  close(): void {
    for (const id of [...this.#open.keys()]) this.unsubscribe(id)
  }

  #resync(id: string, oldest: bigint): void {
    this.#outlet.send(JSON.stringify({ event: 'resync', subscription: id, oldest: Number(oldest) }))
  }

  /** Sends from the front as long as the client takes them. @returns how many */
  #send(id: string, events: StoredEvent[], resume: () => void): number {
    let taken = 0
    while (taken < events.length && !this.#outlet.full) {
      const frames: string[] = []
      let bytes = 0
      do {
        const event = events[taken]
        if (!event) break
        const frame = eventFrame(event, id)
        frames.push(frame)
        bytes += frame.length
        taken++
      } while (this.batch && taken < events.length && bytes < BATCH_BYTES)
      this.#outlet.send(batchFrame(frames))
    }
    if (taken < events.length) this.#outlet.whenDrained(resume)
    return taken
  }
}
