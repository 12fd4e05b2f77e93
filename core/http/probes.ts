import { z } from 'zod'
import type { App } from '#core/plugin.ts'

const Readiness = z.object({
  status: z.enum(['ready', 'degraded', 'not ready', 'draining']),
  checks: z
    .record(z.string(), z.object({ status: z.enum(['ok', 'failed']), ms: z.number(), detail: z.unknown().optional() }))
    .optional()
})

/** /livez: the process turns; /readyz: it can serve. Both without a key and without a line in the log. */
export function probeRoutes(app: App): void {
  app.route({
    method: 'GET',
    url: '/livez',
    config: { permission: 'public', quiet: true },
    schema: {
      tags: ['system'],
      summary: 'The process is alive',
      response: { 200: z.object({ status: z.literal('ok') }) }
    },
    handler: async () => ({ status: 'ok' as const })
  })
  app.route({
    method: 'GET',
    url: '/readyz',
    config: { permission: 'public', quiet: true },
    schema: {
      tags: ['system'],
      summary: 'This host serves; 503 while it does not or is going down',
      querystring: z.object({ verbose: z.string().optional() }),
      response: { 200: Readiness, 503: Readiness }
    },
    handler: async (request, reply) => {
      const { status, checks } = await app.health.readiness()
      const code = status === 'ready' || status === 'degraded' ? 200 : 503
      return reply.status(code).send(request.query.verbose === undefined ? { status } : { status, checks })
    }
  })
}
