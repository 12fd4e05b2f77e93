import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { App } from '#core/plugin.ts'
import { Overloaded } from './errors.ts'
import type { PressureLimits } from './types.ts'

/**
 * Answers 503 with Retry-After before anything is looked up while the event loop is late or the heap nearly full. A
 * database that is too slow says so itself: the gate before each pool refuses who would wait behind a full queue
 * (DB_UNAVAILABLE, 503). Probes are answered always: a busy host is not a dead one.
 */
export async function shedLoad(app: App, { eventLoopMs, heapShare }: PressureLimits): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: eventLoopMs,
    maxHeapUsedBytes: Math.floor(getHeapStatistics().heap_size_limit * heapShare),
    async pressureHandler(request, _reply, type, value) {
      if (!request.routeOptions.config?.quiet) throw new Overloaded(`${type} is ${Math.round(value ?? 0)}`)
    }
  })
}
