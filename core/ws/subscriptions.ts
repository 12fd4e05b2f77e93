import { z } from 'zod'
import { splitByStream } from '#core/bus/topics.ts'
import type { Bus, Opening, Sink, Subscription } from '#core/bus/types.ts'
import type { StreamKind } from '#core/events.ts'
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
    const id = newId()
    const { tenant, platform } = splitByStream(params.topics)
    const first: StreamKind = tenant.length > 0 ? 'tenant' : 'platform'
    const parts: Subscription[] = []
    const failed = () => {
      if (this.#open.has(id)) this.unsubscribe(id)
      fail()
    }
    const follow = (stream: StreamKind, topics: string[], after: number | undefined, opened: (at: Opening) => void) => {
      const query = { topics, stream, ...(after === undefined ? {} : { after: BigInt(after) }) }
      const part: Subscription = this.#bus.follow(
        tenantId,
        query,
        this.#sink(id, () => part.resume(), opened, failed)
      )
      parts.push(part)
    }
    follow(first, first === 'tenant' ? tenant : platform, params.after, ({ from, to }) => {
      answer({ subscription: id, from: Number(from), to: Number(to) })
      if (first === 'tenant' && platform.length > 0 && this.#open.has(id))
        follow('platform', platform, undefined, () => {})
    })
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

  #sink(id: string, resume: () => void, opened: (at: Opening) => void, failed: () => void): Sink {
    const outlet = this.#outlet
    return {
      opened,
      failed,
      resync: (oldest) => outlet.send(JSON.stringify({ event: 'resync', subscription: id, oldest: Number(oldest) })),
      push: (events) => {
        let taken = 0
        while (taken < events.length && !outlet.full) {
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
          outlet.send(batchFrame(frames))
        }
        if (taken < events.length) outlet.whenDrained(resume)
        return taken
      }
    }
  }
}
