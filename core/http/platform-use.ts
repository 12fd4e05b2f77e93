import { auditAs } from '#core/audit/audit.ts'
import { actorOf } from '#core/auth/actor.ts'
import type { App } from '#core/plugin.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** A route of the platform that notes each look itself, in the tenant that is looked at. */
    audited?: boolean
  }
}

/**
 * Notes who looks at something with a permission of the platform that is no tenant's: one row in Tenant Zero's audit log
 * before it is shown. What changes something writes its own row with the change.
 */
export function notePlatformUse(app: App): void {
  app.addHook('preHandler', async (request) => {
    const { permission = '', audited = false } = request.routeOptions.config
    if (!['GET', 'HEAD'].includes(request.method) || audited || !permission.startsWith('platform:')) return
    const actor = { ...actorOf(request.auth, { requestId: request.id, from: request.ip }), kind: 'operator' as const }
    const details = { path: request.url.split('?', 1)[0] ?? '' }
    await app.db.system((tx) =>
      auditAs(tx, TENANT_ZERO, actor, { action: 'platform.viewed', subject: permission, details })
    )
  })
}
