import { definePlugin } from '#core/plugin.ts'
import type { Ports } from '#core/ports/ports.ts'
import type { SecretsPort } from '#core/ports/secrets.ts'
import { addVaultChecks } from './doctor.ts'
import { platformRoutes } from './platform-routes.ts'
import { secretRoutes } from './routes.ts'

/** Secrets at rest: put, rotated, granted, and revealed only to who attaches them to an outgoing request. */
export const vaultRoom = definePlugin({
  name: 'vault',
  needs: ['db', 'tenants'],
  tables: ['vault.data_key', 'vault.secret', 'vault.secret_grant'],
  provides: ['secrets'],
  permissions: {
    'secrets:read': "See the names, versions and grants of the tenant's secrets; values are shown to nobody.",
    'secrets:write': 'Put, rotate, delete and grant secrets.',
    'platform:vault': 'Move all data keys to the current key encryption key, and see how far it is.'
  },
  migrations: new URL('./sql/', import.meta.url),
  register(app) {
    const port: SecretsPort = app.vault
    if (app.hasDecorator('ports')) app.getDecorator<Ports>('ports').provide('secrets', port)
    addVaultChecks(app.doctor, app.db, app.vault)
    secretRoutes(app)
    platformRoutes(app)
  }
})
