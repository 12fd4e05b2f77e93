import { audit } from '#core/audit/audit.ts'
import { actorOf } from '#core/auth/actor.ts'
import type { App } from '#core/plugin.ts'
import { Rotation } from './schema.ts'

const config = { permission: 'platform:vault' }
const tags = ['platform']

/** They read no row of a tenant but its wrapped data key; each key that moves is a row in its tenant's audit log. */
export function platformRoutes(app: App): void {
  const { rotation } = app.vault

  app.route({
    method: 'POST',
    url: '/v1/platform/vault/rotation',
    config,
    schema: {
      tags,
      summary: 'Move all data keys to the current key encryption key; also when a rotation runs already',
      response: { 202: Rotation }
    },
    handler: async (request, reply) => {
      const status = await rotation.status()
      const { current, remaining } = status
      await request.tenant((tx) =>
        audit(tx, { action: 'kek.rotation_asked', subject: `kek:${current}`, details: { remaining } })
      )
      rotation.begin({ ...actorOf(request.auth, { requestId: request.id, from: request.ip }), kind: 'operator' })
      return reply.status(202).header('location', '/v1/platform/vault/rotation').send(status)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/platform/vault/rotation',
    config,
    schema: {
      tags,
      summary: 'How many data keys each version of the key encryption key wraps, and how many still wait',
      response: { 200: Rotation }
    },
    handler: async () => await rotation.status()
  })
}
