import { Readable } from 'node:stream'
import type { z } from 'zod'
import { decodeCursor, page, pageOf } from '#core/http/page.ts'
import { whileAllowed } from '#core/http/while-allowed.ts'
import type { App } from '#core/plugin.ts'
import { AuditRow, KnownLink, ListFilter, Verified } from './schema.ts'
import { type ListRow, listEntries } from './store/log.ts'

const tags = ['audit']

export function auditRoutes(app: App): void {
  const { audit } = app

  app.route({
    method: 'GET',
    url: '/v1/audit',
    config: { permission: 'audit:read' },
    schema: {
      tags,
      summary: 'What was done, newest first',
      querystring: ListFilter,
      response: { 200: pageOf(AuditRow) }
    },
    handler: async (request) => {
      const { limit, cursor, actor, ...filter } = request.query
      const before = decodeCursor('audit', cursor)?.id ?? null
      const query = { ...filter, actor: actorIn(actor), before, limit: limit + 1 }
      const rows = await request.tenant((tx) => listEntries(tx, query))
      return page('audit', rows, limit, (row) => ({ createdAt: row.position, id: row.entry.id }), show)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/audit/verify',
    config: { permission: 'audit:read', limit: 'heavy' },
    schema: {
      tags,
      summary: 'Walk the whole chain: how far it is sealed, and the first row that does not hold',
      querystring: KnownLink,
      response: { 200: Verified }
    },
    handler: async (request) => {
      const { seq, hash } = request.query
      const since = seq === undefined || hash === undefined ? undefined : { seq, hash }
      const { faults, ...report } = await audit.verify(request.auth, since)
      const { id, publicKey } = audit.key
      return { ...report, faults: faults.length, firstFault: faults[0] ?? null, key: { id, publicKey } }
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/audit/export',
    config: { permission: 'audit:read', limit: 'heavy' },
    schema: {
      tags,
      summary: 'The whole chain as signed lines of JSON (application/x-ndjson), to be verified without this server'
    },
    handler: async (request, reply) => {
      const name = `audit-${request.auth.tenantSlug}.ndjson`
      // Read as fast as it is taken; a failure on the way cuts the connection, and the file has no end then.
      const lines = Readable.from(audit.export(request.auth), { highWaterMark: 1 })
      whileAllowed(request, lines)
      return reply
        .headers({ 'content-type': 'application/x-ndjson', 'content-disposition': `attachment; filename="${name}"` })
        .send(lines)
    }
  })
}

function actorIn(text: string | undefined): { kind: string; id: string | null } | undefined {
  if (text === undefined) return undefined
  const colon = text.indexOf(':')
  return colon < 0 ? { kind: text, id: null } : { kind: text.slice(0, colon), id: text.slice(colon + 1) }
}

function show({ entry, seq }: ListRow): z.output<typeof AuditRow> {
  const { tenantId: _tenantId, ...row } = entry
  return { ...row, seq }
}
