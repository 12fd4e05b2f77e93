import { z } from 'zod'
import { causeOf } from '#core/auth/actor.ts'
import { reauthorize } from '#core/auth/guard.ts'
import { resumeFrom, streamEvents, wantsEventStream } from '#core/bus/sse.ts'
import { wireEvent } from '#core/bus/wire.ts'
import type { StoredEvent } from '#core/events.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { cutPage, decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { Timestamp } from '#core/http/time.ts'
import type { App } from '#core/plugin.ts'
import { SESSION_ERRORS, SessionNotFound } from './errors.ts'
import { SessionConfig, SessionListItem, SessionState, SessionView } from './schema.ts'
import type { Command, Sessions } from './sessions.ts'
import { findSession, listSessions } from './store.ts'
import { viewListItem } from './view.ts'

const IdParams = z.strictObject({ id: z.uuid() })
const Created = z.object({ id: z.uuid(), state: SessionState })
const ListFilter = PageQuery.extend({
  state: SessionState.optional(),
  name: z.string().max(200).optional(),
  agent: z.string().max(200).optional(),
  createdAfter: Timestamp.optional()
})
const EventsQuery = z.strictObject({
  after: z
    .string()
    .regex(/^\d{1,18}$/, 'must be a seq')
    .optional(),
  limit: z.coerce.number().int().min(1).max(200).default(100)
})
const WireEvent = z.object({
  event: z.string(),
  seq: z.int(),
  tenantId: z.uuid().nullable(),
  subject: z.string(),
  at: z.iso.datetime(),
  data: z.record(z.string(), z.unknown())
})

const COMMANDS: readonly [string, Command, string][] = [
  ['run', 'QUEUE', 'Queue a session that was created with start: manual'],
  ['pause', 'PAUSE', 'Pause after the step that is running'],
  ['resume', 'RESUME', 'Go on as soon as a slot is free'],
  ['cancel', 'CANCEL', 'End the session; a running step is cut off']
]

export function sessionRoutes(app: App, sessions: Sessions): void {
  const tags = ['sessions']
  const goingDown = new AbortController()
  app.shutdown.step('close-sockets', 'session event streams', () => goingDown.abort())

  app.route({
    method: 'POST',
    url: '/v1/sessions',
    config: { permission: 'sessions:write' },
    schema: { tags, summary: 'Start a session', body: SessionConfig, response: { 201: Created, 202: Created } },
    handler: async (request, reply) => {
      const { tenantId } = request.auth
      const answer = await idempotent(request, async (tx) => {
        const body = await sessions.create(tx, tenantId, request.body, causeOf(request.auth))
        return { status: body.state === 'CREATED' ? 201 : 202, body, headers: { location: `/v1/sessions/${body.id}` } }
      })
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/sessions',
    config: { permission: 'sessions:read' },
    schema: {
      tags,
      summary: 'Sessions, newest first',
      querystring: ListFilter,
      response: { 200: pageOf(SessionListItem) }
    },
    handler: async (request) => {
      const { limit, cursor, ...filter } = request.query
      const before = decodeCursor('sessions', cursor)?.id ?? null
      const rows = await request.tenant((tx) => listSessions(tx, { ...filter, before, limit: limit + 1 }))
      const position = (row: (typeof rows)[number]) => ({ createdAt: row.position, id: row.id })
      return page('sessions', rows, limit, position, viewListItem)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id',
    config: { permission: 'sessions:read' },
    schema: {
      tags,
      summary: 'One session with its steps and history',
      params: IdParams,
      response: { 200: SessionView }
    },
    handler: (request) => sessions.get(request.auth, request.params.id)
  })

  for (const [name, command, summary] of COMMANDS) {
    app.route({
      method: 'POST',
      url: `/v1/sessions/:id/${name}`,
      config: { permission: 'sessions:write' },
      schema: { tags, summary, params: IdParams, response: { 200: SessionView, 202: SessionView } },
      handler: async (request, reply) => {
        const by = causeOf(request.auth)
        const { session, pending } = await sessions.command(request.auth, request.params.id, command, by)
        return reply.status(pending ? 202 : 200).send(session)
      }
    })
  }

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id/events',
    config: { permission: 'sessions:read' },
    schema: {
      tags,
      summary: 'Events of a session: JSON, or a stream with Accept: text/event-stream',
      params: IdParams,
      querystring: EventsQuery,
      response: {
        200: z.object({ data: z.array(WireEvent), nextCursor: z.string().nullable() }),
        204: z.null().describe('a stream that has ended: nothing follows after this event')
      }
    },
    handler: async (request, reply) => {
      const { tenantId } = request.auth
      const { id } = request.params
      const { limit } = request.query
      const session = await request.tenant((tx) => findSession(tx, id))
      if (!session) throw new SessionNotFound(id)
      const topics = [`session:${id}`]
      const after = BigInt(request.query.after ?? 0)
      if (wantsEventStream(request)) {
        const from = resumeFrom(request, after) ?? 0n
        const last = (event: StoredEvent) => isLast(event, session.config)
        const newest = await app.bus.latest(tenantId, `session:${id}`)
        // Nothing will follow: an EventSource that is told so (204) does not come back.
        if (newest && newest.seq <= from && last(newest)) return reply.status(204).send(null)
        const query = { topics, after: from }
        const renew = () => reauthorize(request)
        const { bus, clock } = app
        streamEvents(reply, { bus, clock, tenantId, query, renew, signal: goingDown.signal, last })
        return reply
      }
      const events = await app.bus.history(tenantId, { after, limit: limit + 1, topics })
      const { shown, last } = cutPage(events, limit)
      return { data: shown.map(wireEvent), nextCursor: last === null ? null : String(last.seq) }
    }
  })
}

// After a gate's failure a rollback may still have news, where one of the gates asks for that; after any other nothing.
function isLast({ type, data }: StoredEvent, config: SessionConfig): boolean {
  if (type === 'session.completed' || type === 'session.rolled_back') return true
  if (type !== 'session.failed') return false
  return data.code !== SESSION_ERRORS.GATE_FAILED || !config.gates.some((gate) => gate.onFail === 'rollback')
}
