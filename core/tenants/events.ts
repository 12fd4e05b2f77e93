import { z } from 'zod'
import { defineEvent } from '#core/events.ts'

/** The platform gave the tenant another plan: rooms that keep its limits in rows of their own set them anew. */
export const TenantPlanChanged = defineEvent('tenant.plan_changed', {
  subject: 'tenant',
  data: z.strictObject({ from: z.string(), to: z.string() })
})
