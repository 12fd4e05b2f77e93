import type { FastifyRequest } from 'fastify'
import { actorOf } from '#core/auth/actor.ts'
import type { Proven } from '#core/auth/auth.ts'
import type { Asking } from '#core/auth/authorize.ts'
import type { Credential } from '#core/auth/credential.ts'
import { must } from '#core/must.ts'
import type { App } from '#core/plugin.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Also while the tenant waits for its deletion: what its owner needs to get its data out or to undo it. */
    whileDeleting?: boolean
  }
}

const proven = new WeakMap<FastifyRequest, Proven>()

/**
 * Before a body is read: who asks, and may they. A route without a permission does not get through here either, should
 * the boot's check ever miss one.
 */
export function guardRoutes(app: App): void {
  app.decorateRequest('auth', {
    getter() {
      return must(proven.get(this), 'the identity of a request (the route is public)').identity
    }
  })
  app.decorateRequest('tenant', function (this: FastifyRequest, work) {
    return app.db.tenant(this.auth, work)
  })
  app.addHook('onRequest', async (request) => {
    // Unknown routes are 404 for everybody.
    if (request.is404) return
    const permission = permissionOf(request)
    if (permission === 'public') return
    const { auth } = request.server
    const { credential, identity } = await auth.prove(bearer(request), asking(request))
    if (permission !== 'authenticated') auth.require(identity, permission)
    const actor = actorOf(identity, { requestId: request.id, from: request.ip })
    proven.set(request, { credential, identity: { ...identity, actor } })
  })
}

/**
 * Asks again whether the sender of a request may have what it gets, for an answer that goes on for long.
 * @throws AuthRequired (401), PermissionMissing, TenantMismatch, TenantSuspended (403)
 */
export async function reauthorize(request: FastifyRequest): Promise<void> {
  const { auth } = request.server
  const permission = permissionOf(request)
  // Its own tenant, said or not: a user who joined a second one meanwhile must not have to name it here.
  const asked = { ...asking(request), tenant: request.auth.tenantId }
  const identity = await auth.authorize(credentialOf(request), asked, REAUTHORIZE_MS)
  if (permission !== 'authenticated') auth.require(identity, permission)
}

/** Who asks, where anybody was let in: for the access log, which writes of public and refused requests too. */
export function identityIn(request: FastifyRequest): Proven['identity'] | undefined {
  return proven.get(request)?.identity
}

/** What a request was let in by, to be kept where it is to let something else in (a ticket). */
export function credentialOf(request: FastifyRequest): Credential {
  return must(proven.get(request), 'the credential of a request (the route is public)').credential
}

// Who asks every 2.5 s hears of a revocation within 5.
const REAUTHORIZE_MS = 2000

function permissionOf({ routeOptions }: FastifyRequest): string {
  return must(routeOptions.config.permission, `the permission of ${routeOptions.url}`)
}

function asking(request: FastifyRequest): Asking {
  const tenant = request.headers['agentos-tenant']
  return {
    from: request.ip,
    ...(typeof tenant === 'string' ? { tenant } : {}),
    whileDeleting: request.routeOptions.config.whileDeleting ?? false
  }
}

/** The text behind `Bearer `. Only of this header: what stands in a URL ends in logs and histories. */
export function bearer(request: FastifyRequest): string | undefined {
  return /^Bearer +([^\s]+) *$/i.exec(request.headers.authorization ?? '')?.[1]
}
