import { definePlugin } from '#core/plugin.ts'

/** What was done, by whom, from where: every mutation that somebody asked for. */
export const auditRoom = definePlugin({
  name: 'audit',
  needs: ['db', 'tenants'],
  tables: ['audit.entry', 'audit.tally', 'audit.seal'],
  migrations: new URL('./sql/', import.meta.url),
  permissions: { 'audit:read': 'Read, verify and export the audit log.' },
  register() {}
})
