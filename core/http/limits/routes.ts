import type { FastifyReply, FastifyRequest } from 'fastify'
import type { App } from '#core/plugin.ts'
import type { RateLimits } from './limits.ts'
import type { Payer, RouteClass, Standing } from './types.ts'

/**
 * Counts every request but the probes', after it is known who asks (register behind the guard), and says how the limit
 * stands: RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10) and the older X-RateLimit triple.
 */
export function limitRoutes(app: App, limits: RateLimits): void {
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config?.quiet) return
    const standing = await limits.take(payerOf(request), kindOf(request))
    if (!standing) return
    tell(reply, standing)
    if (standing.used > standing.limit) throw limits.refusal(standing)
  })
}

// Paths that are not there are public too: nobody has been asked who they are.
function payerOf(request: FastifyRequest): Payer {
  const permission = request.routeOptions.config?.permission
  if (request.is404 || permission === undefined || permission === 'public') return { ip: request.ip }
  return { tenantId: request.auth.tenantId }
}

function kindOf({ method, routeOptions }: FastifyRequest): RouteClass {
  return routeOptions.config?.limit ?? (method === 'GET' || method === 'HEAD' ? 'read' : 'write')
}

function tell(reply: FastifyReply, { kind, limit, windowMs, used, resetMs }: Standing): void {
  const remaining = Math.max(0, limit - used)
  const reset = Math.ceil(resetMs / 1000)
  reply.headers({
    'ratelimit-policy': `"${kind}";q=${limit};w=${windowMs / 1000}`,
    ratelimit: `"${kind}";r=${remaining};t=${reset}`,
    'x-ratelimit-limit': limit,
    'x-ratelimit-remaining': remaining,
    'x-ratelimit-reset': reset
  })
}
