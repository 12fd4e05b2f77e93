import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import type { Citizen } from '../world.ts'
import { byId, type RouteRow } from './row.ts'

const secretOf = (who: Citizen) => ({ scope: who.scope, name: 'secret', version: '1.0.0' })
const secret: Pick<RouteRow, 'permission' | 'ok' | 'own' | 'had' | 'absent'> = {
  permission: 'registry:read',
  ok: [200],
  own: (_world, who) => secretOf(who),
  had: secretOf,
  absent: () => ({ scope: 'scope-nobody', name: 'secret', version: '1.0.0' })
}
export const registryRows: Readonly<Record<string, RouteRow>> = {
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
  'DELETE /v1/skills/:id': {
    permission: 'skills:install',
    ok: [204],
    ...byId(
      (world, who) => world.install(who),
      (who) => who.installId
    )
  },
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
