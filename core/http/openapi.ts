import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { pagePolicy } from '#core/http/edge/index.ts'
import type { App } from '#core/plugin.ts'

const Problem = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.string(),
    requestId: z.string(),
    errors: z.array(z.object({ in: z.string().optional(), pointer: z.string(), detail: z.string() })).optional()
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details; `code` never changes its meaning.' })

const problemAnswer = {
  description: 'What went wrong',
  content: { 'application/problem+json': { schema: Problem } }
}

/** OpenAPI 3.1 at /openapi.json. Must be registered before the routes that it describes. */
export async function describeApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'AgentOS', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      components: {
        securitySchemes: {
          key: {
            type: 'http',
            scheme: 'bearer',
            description: 'An API key (`ak_live_...`), or the access token of a user (`POST /v1/auth/token`)'
          }
        }
      },
      security: [{ key: [] }]
    },
    transform: (document) => {
      const permission = document.route.config?.permission
      const given = document.schema
      // Every route may answer with a problem; routes name only their own answers.
      const schema = given && { ...given, response: { ...Object(given.response), default: problemAnswer } }
      const { schema: shown, url } = jsonSchemaTransform({ ...document, schema })
      return {
        url,
        schema: {
          ...shown,
          ...(permission === 'public' ? { security: [] } : {}),
          ...(permission === undefined ? {} : { 'x-permission': permission })
        }
      }
    },
    transformObject: jsonSchemaTransformObject
  })
  app.get('/openapi.json', { config: { permission: 'public' }, schema: { hide: true } }, async (_request, reply) =>
    reply.send(app.swagger())
  )
}

/**
 * The UI at /docs, all from this server. The package is 5 MB of text and 90 ms to load, so it is loaded by the first
 * who looks, into an app of its own that is asked by inject.
 */
export function serveDocs(app: App): void {
  let ui: Promise<FastifyInstance> | null = null
  const options = { config: { permission: 'public' }, schema: { hide: true } }
  app.addHook('onClose', async () => {
    if (ui) await (await ui).close()
  })
  for (const url of ['/docs', '/docs/*']) {
    app.get(url, options, async (request, reply) => {
      ui ??= loadUi()
      const answer = await (await ui).inject({ method: 'GET', url: request.url, headers: { host: request.host } })
      reply.status(answer.statusCode)
      for (const name of ['content-type', 'location']) {
        const value = answer.headers[name]
        if (value !== undefined) reply.header(name, value)
      }
      if (/^text\/html\b/.test(String(answer.headers['content-type']))) {
        reply.header('content-security-policy', pagePolicy(answer.body))
      }
      return reply.send(answer.rawPayload)
    })
  }
}

async function loadUi(): Promise<FastifyInstance> {
  const { default: reference } = await import('@scalar/fastify-api-reference')
  const ui = Fastify()
  await ui.register(reference, {
    routePrefix: '/docs',
    // Nothing from a CDN and nothing to the vendor: no fonts, proxy, telemetry, registry, AI, sharing or upload.
    configuration: {
      url: '/openapi.json',
      withDefaultFonts: false,
      telemetry: false,
      proxyUrl: '',
      showDeveloperTools: 'never',
      hideClientButton: true,
      agent: { disabled: true },
      mcp: { disabled: true }
    }
  })
  return ui
}
