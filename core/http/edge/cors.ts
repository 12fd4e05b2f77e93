import cors from '@fastify/cors'
import type { App } from '#core/plugin.ts'

/**
 * Lets the pages of `origins` call the API. Credentials are bearer tokens, which a page sends itself: cookies are never
 * allowed. Its OPTIONS route is no route of the API: register it before the guard watches routes.
 */
export async function allowOrigins(app: App, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return
  app.addHook('onRoute', (route) => {
    if (route.method === 'OPTIONS' && route.url === '*') route.config = { ...route.config, permission: 'public' }
  })
  const listed = new Set(origins)
  await app.register(cors, {
    // false, not an empty list: a preflight of a page that is not listed is an unknown path like any other
    origin: (origin, done) => done(null, origin !== undefined && listed.has(origin) ? origin : false),
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: [
      'authorization',
      'content-type',
      'idempotency-key',
      'agentos-tenant',
      'last-event-id',
      'x-request-id'
    ],
    exposedHeaders: [
      'location',
      'retry-after',
      'ratelimit',
      'ratelimit-policy',
      'x-ratelimit-limit',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
      'x-request-id',
      'idempotency-replayed'
    ],
    maxAge: 600,
    strictPreflight: false
  })
}
