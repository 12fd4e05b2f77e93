import { z } from 'zod'
import { causeOf } from '#core/auth/actor.ts'
import { fingerprintOf, runIdempotent } from '#core/http/idempotency.ts'
import type { App } from '#core/plugin.ts'
import { SessionConfig } from './schema.ts'
import type { Command, Sessions } from './sessions.ts'

const SessionParams = z.strictObject({ sessionId: z.uuid() })
const CreateParams = z.strictObject({ config: SessionConfig, idempotencyKey: z.string().max(255).optional() })

/** The session methods of /v1/ws: the same functions as the routes call. */
export function sessionMethods(app: App, sessions: Sessions): void {
  app.ws.method('session.create', {
    permission: 'sessions:write',
    params: CreateParams,
    async run(context, { config, idempotencyKey }) {
      const { tenantId } = context.auth
      const create = async (tx: Parameters<Sessions['create']>[0]) => ({
        status: 202,
        body: await sessions.create(tx, tenantId, config, causeOf(context.auth))
      })
      if (idempotencyKey === undefined) return (await context.tenant(create)).body
      const fingerprint = fingerprintOf('session.create', '', config)
      const answer = await runIdempotent(app.db, context.auth, { key: idempotencyKey, fingerprint }, create)
      return answer.body
    }
  })
  app.ws.method('session.get', {
    permission: 'sessions:read',
    limit: 'read',
    params: SessionParams,
    run: (context, { sessionId }) => sessions.get(context.auth, sessionId)
  })
  const commands: readonly [string, Command][] = [
    ['session.run', 'QUEUE'],
    ['session.pause', 'PAUSE'],
    ['session.resume', 'RESUME'],
    ['session.cancel', 'CANCEL']
  ]
  for (const [name, command] of commands) {
    app.ws.method(name, {
      permission: 'sessions:write',
      params: SessionParams,
      run: async (context, { sessionId }) =>
        (await sessions.command(context.auth, sessionId, command, causeOf(context.auth))).session
    })
  }
}
