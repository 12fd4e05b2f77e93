import { definePlugin } from '#core/plugin.ts'

/** Whose data it is. No routes yet: tenants are made by the server's first boot and by `createTenant`. */
export const tenantsRoom = definePlugin({
  name: 'tenants',
  needs: ['db'],
  tables: ['core.tenants', 'core.member'],
  migrations: new URL('./sql/', import.meta.url),
  register() {}
})
