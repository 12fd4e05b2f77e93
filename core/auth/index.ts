import { keyRoutes } from '#core/auth/key-routes.ts'
import { operatorRoutes } from '#core/auth/operator-routes.ts'
import { tokenRoutes } from '#core/auth/token-routes.ts'
import { definePlugin } from '#core/plugin.ts'

/** Who asks, and what they may do: API keys, users and their tokens, roles and permissions. */
export const authRoom = definePlugin({
  name: 'auth',
  needs: ['db', 'tenants'],
  permissions: {
    'keys:read': "See the tenant's API keys, without their secrets.",
    'keys:write': 'Make API keys with at most the own scopes, rotate and revoke keys.',
    'platform:operators': 'Say which members of Tenant Zero hold which platform permissions.'
  },
  tables: ['core.api_key', 'core.app_user', 'core.login', 'core.ws_ticket'],
  migrations: new URL('./sql/', import.meta.url),
  register(app) {
    keyRoutes(app)
    tokenRoutes(app)
    operatorRoutes(app)
  }
})
