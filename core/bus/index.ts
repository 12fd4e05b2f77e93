import { type Clock, systemClock } from '#core/clock.ts'
import { type Db, type DbLog, silentLog } from '#core/db/types.ts'
import { checkEvent, type StoredEvent, type StreamKind } from '#core/events.ts'
import { Consumers } from './consumers.ts'
import { headOf, read } from './feed.ts'
import { Hub } from './hub.ts'
import { Relay } from './relay.ts'
import { retain } from './retention.ts'
import { readLatest } from './store/history.ts'
import { insertEvents } from './store/outbox.ts'
import { parseTopics, type TopicFilter } from './topics.ts'
import { memoryTransport, type Transport } from './transport.ts'
import { type Bus, type HistoryQuery, PLATFORM_STREAM } from './types.ts'

export type * from './types.ts'

declare module 'fastify' {
  interface FastifyInstance {
    bus: Bus
  }
}

export interface BusOptions {
  db: Db
  clock?: Clock
  log?: DbLog
  /** Default: this process only. Hosts find each other's events by looking every `pollMs`. */
  transport?: Transport
  /** The fallback wherever a hint was lost. Default 500. */
  pollMs?: number
  /** First pause after a consumer's failure. Default 500. */
  retryMs?: number
}

const LAST_SEQ = 2n ** 63n - 1n

/** The bus of one process over one database; any number of processes may share the database. */
export function createBus(options: BusOptions): Bus {
  const { db, clock = systemClock, log = silentLog, transport = memoryTransport(), pollMs = 500 } = options
  const consumers = new Consumers({ db, clock, log, pollMs, retryMs: options.retryMs ?? 500 })
  const hub = new Hub({ db, clock, log }, pollMs)
  const relay = new Relay({
    db,
    clock,
    log,
    pollMs,
    publish(streamId, events) {
      transport.publish(streamId, events)
      consumers.noticed(streamId, events)
    }
  })
  let unsubscribe = () => {}

  const emitAll: Bus['emitAll'] = async (tx, events) => {
    if (events.length === 0) return
    const streams = await insertEvents(tx, events.map(checkEvent))
    db.afterCommit(tx, () => {
      for (const streamId of streams) relay.hint(streamId)
    })
  }

  return {
    emit: (tx, type, subjectId, data) => emitAll(tx, [{ type, subjectId, data }]),
    emitAll,
    on(name, types, handler, consumerOptions) {
      consumers.add(name, Array.isArray(types) ? types : [types], handler, consumerOptions)
    },
    history: (tenantId, query) => readHistory(db, tenantId, query),
    latest: (tenantId, subject) => db.system((tx) => readLatest(tx, tenantId, subject)),
    head: (tenantId, stream) => headOf(db, streamOf(tenantId, stream)),
    follow(tenantId, query, sink) {
      return hub.follow(streamOf(tenantId, query.stream), query.topics, query.after, sink)
    },
    hint: (tenantId) => relay.hint(tenantId),
    retain: (olderThanMs, retainOptions) => retain(db, olderThanMs, retainOptions),
    async start() {
      unsubscribe = transport.subscribe((streamId, events) => hub.ingest(streamId, events))
      await consumers.start()
      hub.start()
      relay.start()
    },
    async stop() {
      unsubscribe()
      await relay.stop()
      await consumers.stop()
      hub.stop()
    }
  }
}

function streamOf(tenantId: string, stream: StreamKind = 'tenant'): string {
  return stream === 'platform' ? PLATFORM_STREAM : tenantId
}

async function readHistory(db: Db, tenantId: string, query: HistoryQuery): Promise<StoredEvent[]> {
  const filter: TopicFilter | null = query.topics ? parseTopics(query.topics) : null
  const streamId = streamOf(tenantId, query.stream)
  return await read(db, { streamId, after: query.after, upTo: LAST_SEQ, limit: query.limit, filter })
}
