import { z } from 'zod'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import type { App } from '#core/plugin.ts'
import { SessionNotFound } from './errors.ts'
import { LOG_LEVELS } from './log.ts'
import { type LogRow, readLines } from './log-store.ts'
import { Identifier, LogLineView, RecordingView } from './schema.ts'
import { findCalls, findSession } from './store.ts'

const IdParams = z.strictObject({ id: z.uuid() })
const LogFilter = PageQuery.extend({ step: Identifier.optional(), level: z.enum(LOG_LEVELS).optional() })

/** What the calls of a session said, and what a replay of them needs. */
export function logRoutes(app: App): void {
  const tags = ['sessions']

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id/logs',
    config: { permission: 'sessions:read' },
    schema: {
      tags,
      summary: 'What the tools of a session logged, and why they failed; oldest first',
      params: IdParams,
      querystring: LogFilter,
      response: { 200: pageOf(LogLineView) }
    },
    handler: async (request) => {
      const { limit, cursor, ...filter } = request.query
      const list = `logs:${request.params.id}`
      const after = decodeCursor(list, cursor)?.id ?? null
      const query = { ...filter, sessionId: request.params.id, after, limit: limit + 1 }
      const rows = await request.tenant(async (tx) => {
        const [session, lines] = await Promise.all([findSession(tx, query.sessionId), readLines(tx, query)])
        if (!session) throw new SessionNotFound(query.sessionId)
        return lines
      })
      return page(list, rows, limit, ({ position, id }) => ({ createdAt: position, id }), viewLine)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id/recording',
    config: { permission: 'sessions:read', limit: 'heavy' },
    schema: {
      tags,
      summary: 'Calls, host calls and sources of a session, for agentos replay',
      params: IdParams,
      response: { 200: RecordingView }
    },
    handler: (request) =>
      request.tenant(async (tx) => {
        const { id } = request.params
        const session = await findSession(tx, id)
        if (!session) throw new SessionNotFound(id)
        const records = await findCalls(tx, id)
        const recording = await app.ports.get('tools').recording(tx, session.tenantId, id, records)
        return { ...recording, complete: session.endedAt !== null }
      })
  })
}

function viewLine({ position: _position, at, ...line }: LogRow) {
  return { ...line, at: at.toISOString() }
}
