import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import { type Citizen, manual, type World } from './world.ts'

type Params = Readonly<Record<string, string>>

/** What the suite must know of a route. A route without a row is red. */
export interface RouteRow {
  /** 'public', 'authenticated' or the permission that it asks for. */
  permission: string
  /** Answers to who may ask. */
  ok: readonly number[]
  /** Path parameters that name a thing of this tenant; made anew for each request. */
  own?: (world: World, who: Citizen) => Promise<Params> | Params
  /** The same kind of thing, nowhere to be found. */
  absent?: () => Params
  request?: (who: Citizen) => { payload?: object | Buffer; headers?: Record<string, string> }
  /** Bodies that name a thing of `whose`: [what, payload, status]. Another tenant's is answered like one that is nowhere. */
  bodies?: (whose: Naming) => [what: string, payload: object, status: number][]
  list?: boolean
}

/** Names by which a body could reach for a tenant's things. */
export interface Naming {
  scope: string
  tenantId: string
}

const nowhere = '01900000-0000-7000-8000-0000000000ff'
const byId = (own: (world: World, who: Citizen) => Promise<string>): Pick<RouteRow, 'own' | 'absent'> => ({
  own: async (world, who) => ({ id: await own(world, who) }),
  absent: () => ({ id: nowhere })
})
const session = byId((world, who) => world.session(who))
const command = { permission: 'sessions:write', ok: [200, 202, 409], ...session }
const secret: Pick<RouteRow, 'permission' | 'ok' | 'own' | 'absent'> = {
  permission: 'registry:read',
  ok: [200],
  own: (_world, who) => ({ scope: who.scope, name: 'secret', version: '1.0.0' }),
  absent: () => ({ scope: 'scope-nobody', name: 'secret', version: '1.0.0' })
}
const open: RouteRow = { permission: 'public', ok: [200] }

export const routeRows: Readonly<Record<string, RouteRow>> = {
  'GET /openapi.json': open,
  'GET /livez': open,
  'GET /readyz': open,
  'GET /docs': { permission: 'public', ok: [301] },
  'GET /docs*': { permission: 'public', ok: [404] },
  'GET /v1/ws': { permission: 'public', ok: [426] },
  'GET /v1/system/rooms': { permission: 'platform:rooms', ok: [200] },
  'GET /v1/whoami': { permission: 'authenticated', ok: [200] },
  'POST /v1/keys': {
    permission: 'keys:write',
    ok: [201],
    request: (who) => ({ payload: { name: `${who.canary} made`, scopes: ['keys:write'] } }),
    bodies: ({ tenantId }) => [['a tenant', { name: 'x', scopes: ['keys:write'], tenantId }, 400]]
  },
  'GET /v1/keys': { permission: 'keys:read', ok: [200], list: true },
  'DELETE /v1/keys/:id': { permission: 'keys:write', ok: [204], ...byId((world, who) => world.key(who)) },
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
  'POST /v1/sessions/:id/run': command,
  'POST /v1/sessions/:id/pause': command,
  'POST /v1/sessions/:id/resume': command,
  'POST /v1/sessions/:id/cancel': command,
  'POST /v1/skills': {
    permission: 'skills:install',
    ok: [200, 201],
    request: (who) => ({ payload: { ref: `@${who.scope}/tool@^1` } }),
    bodies: ({ scope, tenantId }) => [
      ['a private skill', { ref: `@${scope}/secret@^1` }, 404],
      ['a private version', { ref: `@${scope}/secret@1.0.0` }, 404],
      ['a tenant', { ref: '@scope-a/tool@^1', tenantId }, 400]
    ]
  },
  'GET /v1/skills': { permission: 'skills:read', ok: [200], list: true },
  'DELETE /v1/skills/:id': { permission: 'skills:install', ok: [204], ...byId((world, who) => world.install(who)) },
  'POST /v1/registry/skills': {
    permission: 'skills:publish',
    ok: [200, 201],
    request: (who) => {
      const { archive, authorBundle } = signedSkill({ name: `@one-${Math.random().toString(36).slice(2)}/${who.name}` })
      return uploadForm([
        ['package', archive],
        ['bundle', authorBundle]
      ])
    }
  },
  'GET /v1/registry/skills': { permission: 'registry:read', ok: [200], list: true },
  'GET /v1/registry/skills/:scope/:name': secret,
  'GET /v1/registry/skills/:scope/:name/:version': secret,
  'GET /v1/registry/skills/:scope/:name/:version/package': secret,
  'GET /v1/registry/skills/:scope/:name/:version/bundle': secret
}

/** Every route of the router itself, `METHOD /path`: from its printed tree, not from what the app says of itself. */
export function routesOf(app: { printRoutes(options: { commonPrefix: boolean }): string }): string[] {
  const path: string[] = []
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', part = '', methods = ''] =
        /^((?:[│ ] {3})*)[├└]── (.*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
      if (part === '') return []
      path.length = indent.length / 4
      path.push(part)
      return methods.split(', ').flatMap((method) => (method === '' ? [] : `${method} ${path.join('')}`))
    })
}

/** Routes that nobody wrote a row for; HEAD goes with GET. */
export function withoutRow(routes: readonly string[], rows: Readonly<Record<string, unknown>>): string[] {
  return routes.filter((route) => !(route.replace(/^HEAD /, 'GET ') in rows))
}
