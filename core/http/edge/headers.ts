import { createHash } from 'node:crypto'
import helmet from '@fastify/helmet'
import type { App } from '#core/plugin.ts'

// An answer of the API is data: a browser that is tricked into showing it may load, run and frame nothing.
const nothing = { defaultSrc: ["'none'"], baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"] }

const yearSeconds = 365 * 24 * 60 * 60

/** Security headers on every answer; HSTS only on what came by https, which needs TRUST_PROXY behind a proxy. */
export async function secureHeaders(app: App): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: nothing },
    // Pages of ALLOWED_ORIGINS read answers by CORS; nobody else embeds them.
    crossOriginResourcePolicy: { policy: 'same-origin' },
    referrerPolicy: { policy: 'no-referrer' },
    strictTransportSecurity: false,
    xFrameOptions: { action: 'deny' }
  })
  app.addHook('onRequest', async (request, reply) => {
    if (request.protocol === 'https') reply.header('strict-transport-security', `max-age=${yearSeconds}`)
  })
}

/**
 * The policy of an HTML page of ours (the docs): its own files, and the inline scripts that stand in it by their
 * digests. Its styles are made at run time, so they may be inline.
 */
export function pagePolicy(html: string): string {
  const scripts = [...html.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(
    ([, code = '']) => `'sha256-${createHash('sha256').update(code).digest('base64')}'`
  )
  return [
    "default-src 'none'",
    `script-src 'self' ${scripts.join(' ')}`.trim(),
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join(';')
}
