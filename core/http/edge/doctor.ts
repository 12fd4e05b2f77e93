import type { Doctor } from '#core/doctor/doctor.ts'
import type { RateLimits } from '#core/http/limits/index.ts'
import type { ForwardedWatch } from './proxy.ts'
import type { EdgeOptions } from './types.ts'

/** What an operator must know of the edge: the lines of `agentos doctor edge`. */
export function addEdgeChecks(
  doctor: Doctor,
  edge: EdgeOptions,
  forwarded: ForwardedWatch,
  limits: RateLimits | undefined
): void {
  doctor.add('edge', {
    name: 'proxy.trusted',
    title: 'addresses are those of the clients, not of a proxy',
    run() {
      if (edge.trustProxy) return { ok: true, detail: `X-Forwarded-For is believed from ${edge.trustProxy}` }
      const { all, forwarded: came } = forwarded.seen
      const detail = `${came} of ${all} requests of the last 5 minutes came with X-Forwarded-For`
      if (!forwarded.ignored) return { ok: true, detail }
      return {
        ok: false,
        detail: `${detail}, which nobody is believed: their limits count the sender of the connection`,
        fix: 'set TRUST_PROXY to the address or CIDR of your proxy; without a proxy somebody makes the header up'
      }
    }
  })
  doctor.add('edge', {
    name: 'limits.shared',
    title: 'requests are counted, by all hosts together where there is a Redis',
    run() {
      if (!limits) return { ok: false, detail: 'nothing is limited', fix: 'start the server with a table of limits' }
      const reach = limits.reach()
      if (reach === 'shared') return { ok: true, detail: 'all hosts count together, in Redis' }
      if (reach === 'local') return { ok: true, detail: 'this host counts alone: REDIS_URL is not set' }
      return {
        ok: false,
        detail: 'Redis does not answer: each host counts alone, and together they let more through',
        fix: 'bring Redis back, or look at REDIS_URL and its login'
      }
    }
  })
}
