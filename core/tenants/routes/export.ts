import { PassThrough } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { audit } from '#core/audit/audit.ts'
import { whileAllowed } from '#core/http/while-allowed.ts'
import type { App } from '#core/plugin.ts'
import { ExportRunning } from '#core/tenants/errors.ts'
import { pacedWriter } from '#core/tenants/export/pace.ts'
import { writeExport } from '#core/tenants/export/write.ts'

/** Each holds a connection and a snapshot for as long as its client takes. */
const AT_ONCE = 2

export function exportRoute(app: App): void {
  const running = new Set<string>()

  app.route({
    method: 'GET',
    url: '/v1/tenant/export',
    exposeHeadRoute: false,
    config: { permission: 'tenant:export', whileDeleting: true, limit: 'heavy' },
    schema: {
      tags: ['tenants'],
      summary:
        'All data of the tenant as lines of JSON: a head, {table, row}, {object, size, part, base64}, and an end with counts and sha256',
      produces: ['application/x-ndjson']
    },
    handler: async (request, reply) => {
      const { tenantId } = request.auth
      if (running.size >= AT_ONCE || running.has(tenantId)) throw new ExportRunning(running.size)
      running.add(tenantId)
      try {
        // Before the first byte: whatever a client got, its having asked stands in the log.
        await request.tenant((tx) => audit(tx, { action: 'tenant.exported', subject: `tenant:${tenantId}` }))
      } catch (error) {
        running.delete(tenantId)
        throw error
      }
      const out = new PassThrough()
      whileAllowed(request, out)
      void send(app, request, out).finally(() => running.delete(tenantId))
      return reply
        .headers({
          'content-type': 'application/x-ndjson',
          'content-disposition': `attachment; filename="${request.auth.tenantSlug}.ndjson"`,
          'cache-control': 'no-store'
        })
        .send(out)
    }
  })
}

// The answer has begun: what goes wrong now can only cut it off, and its end line is missing.
async function send(app: App, request: FastifyRequest, out: PassThrough): Promise<void> {
  const { tenantSlug: slug } = request.auth
  const at = new Date(app.clock.now()).toISOString()
  const parts = { db: app.db, objects: app.hasDecorator('objects') ? app.objects : undefined }
  try {
    const count = await writeExport(parts, request.auth, { slug, at }, pacedWriter(out, app.clock))
    request.log.info(count, 'tenant exported')
    out.end()
  } catch (error) {
    request.log.warn({ err: error }, 'an export was cut off')
    out.destroy(error instanceof Error ? error : new Error(String(error)))
  }
}
