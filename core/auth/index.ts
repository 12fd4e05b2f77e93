import { authRoutes } from '#core/auth/routes.ts'
import { definePlugin } from '#core/plugin.ts'

/** Who asks, and what they may do: API keys and permissions. */
export const authRoom = definePlugin({
  name: 'auth',
  needs: ['db', 'tenants'],
  permissions: {
    'keys:read': "See the tenant's API keys, without their secrets.",
    'keys:write': 'Make API keys with at most the own scopes, and revoke keys.'
  },
  tables: ['core.api_key'],
  migrations: new URL('./sql/', import.meta.url),
  register: authRoutes
})
