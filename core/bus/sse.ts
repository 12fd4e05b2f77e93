import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '#core/clock.ts'
import { AppError, RequestInvalid } from '#core/errors.ts'
import type { StoredEvent } from '#core/events.ts'
import { TooManyStreams } from './errors.ts'
import type { Bus, FollowQuery, Subscription } from './types.ts'
import { wireEvent } from './wire.ts'

export interface SseOptions {
  bus: Bus
  clock: Clock
  tenantId: string
  query: FollowQuery
  /** Asks whether the client may still have these events; 401 or 403 ends the stream. */
  renew: () => Promise<void>
  /** How often that is asked. Default 2.5 s: with answers of at most 2 s, a revocation anywhere ends the stream within 5. */
  renewMs?: number
  /** Streams of one tenant on one bus, default 200. */
  perTenant?: number
  /** Comments keep proxies from cutting an idle stream. Default 15 s. */
  pingMs?: number
  /** A reader that takes nothing for this long is cut off; it comes back with its Last-Event-ID. Default 10 s. */
  stalledMs?: number
  /** What EventSource waits before it reconnects. Default 1000. */
  retryMs?: number
  /** Ends the stream, e.g. with the session or at shutdown. */
  signal?: AbortSignal
  /** True for the event after which nothing follows: the stream ends behind it. */
  last?: (event: StoredEvent) => boolean
}

/** True when the client prefers an event stream over JSON. */
export function wantsEventStream(request: FastifyRequest): boolean {
  return /(^|[\s,])text\/event-stream\b/i.test(request.headers.accept ?? '')
}

/**
 * Where the client's last connection ended: its Last-Event-ID, or else `after`.
 * @throws REQUEST_INVALID for a Last-Event-ID that is no seq
 */
export function resumeFrom(request: FastifyRequest, after: bigint | undefined): bigint | undefined {
  const id = request.headers['last-event-id']
  if (id === undefined || id === '') return after
  if (typeof id !== 'string' || !/^\d{1,18}$/.test(id)) {
    throw new RequestInvalid([{ pointer: '/headers/last-event-id', detail: 'not the id of an event of this stream' }])
  }
  return BigInt(id)
}

/**
 * Answers a request with the stream of its events (text/event-stream): id is the seq, event the name, data the event
 * as on the WebSocket. Topics must be checked before: the headers go out at once. Ends when the client goes.
 * @throws BUS_TOO_MANY_STREAMS (429), and nothing is answered then
 */
export function streamEvents(reply: FastifyReply, options: SseOptions): void {
  const { bus, clock, tenantId, query, signal } = options
  const leave = enter(bus, tenantId, options.perTenant ?? 200)
  reply.hijack()
  const out = reply.raw
  out.writeHead(200, {
    ...headersOf(reply), // of the edge: CORS, limits
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no' // nginx would collect the events
  })
  out.write(`retry: ${options.retryMs ?? 1000}\n\n`)

  let subscription: Subscription | undefined
  let stalled: { cancel(): void } | undefined
  const ping = clock.every(options.pingMs ?? 15_000, () => {
    if (!out.writableNeedDrain) out.write(': ping\n\n')
  })
  const renewal = clock.every(options.renewMs ?? 2500, () => {
    options.renew().catch((thrown) => {
      // What else fails is the database's trouble, not the client's.
      if (thrown instanceof AppError && (thrown.status === 401 || thrown.status === 403)) end()
    })
  })
  const end = () => {
    leave()
    ping.cancel()
    renewal.cancel()
    stalled?.cancel()
    subscription?.close()
    signal?.removeEventListener('abort', end)
    if (!out.writableEnded) out.end()
  }
  out.on('close', end)
  out.on('error', end)
  out.on('drain', () => {
    stalled?.cancel()
    subscription?.resume()
  })
  signal?.addEventListener('abort', end, { once: true })
  // A client that went while its request was answered has closed before anybody listened.
  if (signal?.aborted || out.destroyed) {
    end()
    return
  }

  subscription = bus.follow(tenantId, query, {
    resync: (oldest) => void out.write(`event: resync\ndata: {"oldest":${oldest}}\n\n`),
    failed: end,
    push(events) {
      let taken = 0
      while (taken < events.length && !out.writableNeedDrain) {
        const event = events[taken++]
        if (!event) break
        out.write(`id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(wireEvent(event))}\n\n`)
        if (options.last?.(event)) {
          end()
          return events.length
        }
      }
      if (taken < events.length) {
        stalled?.cancel()
        stalled = clock.after(options.stalledMs ?? 10_000, () => out.destroy())
      }
      return taken
    }
  })
}

// What hooks have set on the reply; a hijacked one sends it no more.
function headersOf(reply: FastifyReply): OutgoingHttpHeaders {
  return reply.getHeaders() as OutgoingHttpHeaders
}

const open = new WeakMap<Bus, Map<string, number>>()

// @returns what to call, once or more often, when the stream has ended
function enter(bus: Bus, tenantId: string, limit: number): () => void {
  const counts = open.get(bus) ?? new Map<string, number>()
  open.set(bus, counts)
  const count = counts.get(tenantId) ?? 0
  if (count >= limit) throw new TooManyStreams(limit)
  counts.set(tenantId, count + 1)
  let inside = true
  return () => {
    if (!inside) return
    inside = false
    const left = (counts.get(tenantId) ?? 1) - 1
    if (left > 0) counts.set(tenantId, left)
    else counts.delete(tenantId)
  }
}
