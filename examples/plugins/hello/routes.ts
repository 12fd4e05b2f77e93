import { type App, audit, causeOf, IdParams, idempotent, newId, sendAnswer, z } from 'agentos/plugin'
import { GreetingNotFound, LanguageUnknown, ReplyRefused } from './errors.ts'
import { NEW_GREETING } from './machine.ts'
import { GreetingState, GreetingView, type HelloOptions, NewGreeting, Reply } from './schema.ts'
import { findGreeting, type GreetingRow } from './store.ts'

/** A host that is writing takes the reply when it is done; the caller waits this long for it, and gets 202 then. */
const ANSWER_MS = 1000

export function helloRoutes(app: App, options: HelloOptions): void {
  const tags = ['hello']

  app.route({
    method: 'POST',
    url: '/v1/hello',
    config: { permission: 'hello:write' },
    schema: {
      tags,
      summary: 'Greet somebody',
      body: NewGreeting,
      response: { 202: z.object({ id: z.uuid(), state: GreetingState }) }
    },
    handler: async (request, reply) => {
      const { name, language } = request.body
      const known = Object.keys(options.greetings)
      if (!known.includes(language)) throw new LanguageUnknown(language, known)
      const { tenantId } = request.auth
      // One transaction: the greeting, its events and the answer for a repeated Idempotency-Key, or nothing.
      const answer = await idempotent(request, async (tx) => {
        const id = newId()
        const actor = { id, context: NEW_GREETING, columns: { name, language }, events: [], by: causeOf(request.auth) }
        await app.actors.create(tx, 'greeting', tenantId, [actor])
        await audit(tx, { action: 'greeting.created', subject: `greeting:${id}`, after: { name, language } })
        return { status: 202, body: { id, state: 'WRITING' }, headers: { location: `/v1/hello/${id}` } }
      })
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/hello/:id',
    config: { permission: 'hello:read' },
    schema: { tags, summary: 'One greeting', params: IdParams, response: { 200: GreetingView } },
    handler: async (request) => {
      const { id } = request.params
      const greeting = await request.tenant((tx) => findGreeting(tx, id))
      if (!greeting) throw new GreetingNotFound(id)
      return view(greeting)
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/hello/:id/reply',
    config: { permission: 'hello:write' },
    schema: {
      tags,
      summary: 'Reply to a greeting',
      params: IdParams,
      body: Reply,
      response: { 200: GreetingView, 202: GreetingView }
    },
    handler: async (request, reply) => {
      const { id } = request.params
      const { tenantId } = request.auth
      const command = { type: 'REPLY', text: request.body.text }
      const sent = await request.tenant(async (tx) => {
        if (!(await findGreeting(tx, id))) throw new GreetingNotFound(id)
        const sent = await app.actors.send(tx, 'greeting', id, command, causeOf(request.auth))
        const entry = { action: 'greeting.replied', subject: `greeting:${id}`, after: command.text }
        if (sent.outcome !== 'refused') await audit(tx, entry)
        return sent
      })
      const answer = sent.outcome === 'pending' ? await app.actors.answer({ tenantId, id }, sent, ANSWER_MS) : sent
      if (answer.outcome === 'refused') throw new ReplyRefused(id, answer.state)
      const greeting = await request.tenant((tx) => findGreeting(tx, id))
      if (!greeting) throw new GreetingNotFound(id)
      return reply.status(answer.outcome === 'pending' ? 202 : 200).send(view(greeting))
    }
  })
}

function view({ context, createdAt, endedAt, ...row }: GreetingRow) {
  return {
    ...row,
    ...context,
    createdAt: createdAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null
  }
}
