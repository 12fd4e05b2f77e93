import { definePlugin } from '#core/plugin.ts'
import { tenantChecks } from './doctor.ts'
import { TenantPlanChanged } from './events.ts'
import { exportRoute } from './routes/export.ts'
import { invitationRoutes } from './routes/invitations.ts'
import { memberRoutes } from './routes/members.ts'
import { ownRoutes } from './routes/own.ts'
import { platformRoutes } from './routes/platform.ts'
import { provisionRoutes } from './routes/provision.ts'

/** Whose data it is: tenants, who is in them, and what becomes of them. */
export const tenantsRoom = definePlugin({
  name: 'tenants',
  needs: ['db'],
  permissions: {
    'tenant:read': "See the tenant's name, plan and settings.",
    'tenant:write': "Change the tenant's name and settings.",
    'tenant:export': 'Download all data of the tenant.',
    'tenant:delete': 'Delete the tenant, and undo that within the grace time.',
    'members:read': 'See members and invitations.',
    'members:write': 'Invite, change and remove members whose role is at most the own one.',
    'members:owners': 'Name and remove owners, being one.',
    'platform:tenants': 'Make, suspend, change and delete tenants, and see their metadata and counts.'
  },
  emits: [TenantPlanChanged],
  tables: ['core.tenants', 'core.member', 'core.invitation'],
  migrations: new URL('./sql/', import.meta.url),
  register(app) {
    const plans = app.hasDecorator('plans') ? app.plans : { plans: {} }
    ownRoutes(app)
    memberRoutes(app)
    invitationRoutes(app, plans)
    exportRoute(app)
    provisionRoutes(app, plans)
    platformRoutes(app, plans)
    for (const check of tenantChecks(app.db)) app.doctor.add('tenancy', check)
  }
})
