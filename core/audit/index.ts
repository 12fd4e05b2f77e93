import { definePlugin } from '#core/plugin.ts'
import { auditChecks } from './doctor.ts'
import { auditRoutes } from './routes.ts'

/** What was done, by whom, from where: every mutation that somebody asked for. */
export const auditRoom = definePlugin({
  name: 'audit',
  needs: ['db', 'tenants'],
  tables: ['audit.entry', 'audit.tally', 'audit.chain', 'audit.seal'],
  migrations: new URL('./sql/', import.meta.url),
  permissions: { 'audit:read': 'Read, verify and export the audit log.' },
  register(app) {
    auditRoutes(app)
    for (const check of auditChecks(app.db, app.audit, app.clock)) app.doctor.add('tenancy', check)
  }
})
