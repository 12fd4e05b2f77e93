import type { FastifyRequest } from 'fastify'
import { actorOf } from '#core/auth/actor.ts'
import type { Identity } from '#core/auth/auth.ts'
import { must } from '#core/must.ts'
import type { App } from '#core/plugin.ts'

const identities = new WeakMap<FastifyRequest, Identity>()

/**
 * Before a body is read: who asks, and may they. A route without a permission does not get through here either, should
 * the boot's check ever miss one.
 */
export function guardRoutes(app: App): void {
  app.decorateRequest('auth', {
    getter() {
      return must(identities.get(this), 'the identity of a request (the route is public)')
    }
  })
  app.decorateRequest('tenant', function (this: FastifyRequest, work) {
    return app.db.tenant(this.auth, work)
  })
  app.addHook('onRequest', async (request) => {
    // Unknown routes are 404 for everybody.
    if (request.is404) return
    const permission = permissionOf(request)
    if (permission !== 'public') identities.set(request, await authorize(request, permission))
  })
}

/**
 * Asks again whether the sender of a request may have what it gets, for an answer that goes on for long.
 * @throws AuthRequired (401), PermissionMissing, TenantMismatch (403)
 */
export async function reauthorize(request: FastifyRequest): Promise<void> {
  await authorize(request, permissionOf(request))
}

function permissionOf({ routeOptions }: FastifyRequest): string {
  return must(routeOptions.config.permission, `the permission of ${routeOptions.url}`)
}

async function authorize(request: FastifyRequest, permission: string): Promise<Identity> {
  const { auth } = request.server
  const tenant = request.headers['agentos-tenant']
  const identity = await auth.authenticate(bearer(request), typeof tenant === 'string' ? tenant : undefined)
  if (permission !== 'authenticated') auth.require(identity, permission)
  return { ...identity, actor: actorOf(identity, { requestId: request.id, from: request.ip }) }
}

// Only this header: what stands in a URL ends in logs and histories.
function bearer(request: FastifyRequest): string | undefined {
  return /^Bearer +([^\s]+) *$/i.exec(request.headers.authorization ?? '')?.[1]
}
