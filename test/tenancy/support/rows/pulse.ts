import { manual } from '../world.ts'
import { byId, type RouteRow } from './row.ts'

const session = byId(
  (world, who) => world.session(who),
  (who) => who.sessionId
)
const command = { permission: 'sessions:write', ok: [200, 202, 409], ...session }

export const pulseRows: Readonly<Record<string, RouteRow>> = {
  'POST /v1/sessions': {
    permission: 'sessions:write',
    ok: [201],
    request: (who) => ({ payload: manual(who), headers: { 'idempotency-key': `key-${Math.random()}` } }),
    bodies: ({ scope, tenantId }) => [
      [
        'a skill',
        { start: 'manual', skills: [`@${scope}/secret@^1`], steps: [{ id: 'a', kind: 'tool', tool: 'secret.echo' }] },
        422
      ],
      [
        'an installed skill',
        { start: 'manual', skills: [`@${scope}/tool@^1`], steps: [{ id: 'a', kind: 'tool', tool: 'tool.echo' }] },
        422
      ],
      ['a tenant', { tenantId, start: 'manual', steps: [] }, 400]
    ]
  },
  'GET /v1/sessions': { permission: 'sessions:read', ok: [200], list: true },
  'GET /v1/sessions/:id': { permission: 'sessions:read', ok: [200], ...session },
  'GET /v1/sessions/:id/events': { permission: 'sessions:read', ok: [200], ...session },
  'GET /v1/sessions/:id/logs': { permission: 'sessions:read', ok: [200], ...session },
  'GET /v1/sessions/:id/recording': { permission: 'sessions:read', ok: [200], ...session },
  'POST /v1/sessions/:id/run': command,
  'POST /v1/sessions/:id/pause': command,
  'POST /v1/sessions/:id/resume': command,
  'POST /v1/sessions/:id/cancel': command
}
