import { z } from 'zod'
import { must } from '#core/must.ts'
import { definePlugin } from '#core/plugin.ts'
import { TenantPlanChanged } from '#core/tenants/events.ts'
import { PlanTable } from '#core/tenants/plans.ts'
import { sessionEffects } from './effects.ts'
import * as events from './events.ts'
import { sessionKind } from './kind.ts'
import { logRoutes } from './log-routes.ts'
import { sessionMethods } from './methods.ts'
import { sessionRoutes } from './routes.ts'
import { EXPIRE_JOB, Sessions } from './sessions.ts'

export const PulseOptions = z.strictObject({
  plans: PlanTable,
  queueMax: z
    .record(z.string(), z.int().min(1))
    .default({ free: 100, pro: 1000, enterprise: 20_000 })
    .describe('sessions of a tenant that may wait, by plan'),
  toolCalls: z
    .record(z.string(), z.int().min(1).nullable())
    .default({})
    .describe('tool calls of a tenant that may run at once on a host, by plan; null or absent = unlimited')
})

const ExpireJob = z.object({
  tenantId: z.uuid(),
  sessionId: z.uuid(),
  reason: z.enum(['deadline', 'pause']),
  moves: z.int().optional()
})

/** Pulse: durable sessions. */
export default definePlugin({
  name: 'pulse',
  needs: ['db', 'bus', 'actors', 'jobs', 'objects', 'ports', 'ws'],
  options: PulseOptions,
  consumes: [TenantPlanChanged],
  emits: Object.values(events),
  machines: [sessionKind],
  permissions: {
    'sessions:read': 'See sessions, their steps, results, events, logs and recordings.',
    'sessions:write': 'Start, pause, resume and cancel sessions.'
  },
  uses: ['tools'],
  tables: ['pulse.session', 'pulse.checkpoint', 'pulse.log'],
  migrations: new URL('./sql/', import.meta.url),
  register(app, { plans, queueMax, toolCalls }) {
    const { db, bus, actors, objects, ports, jobs, clock, log } = app
    const sessions = new Sessions({ db, bus, actors, clock, objects, ports, jobs, plans, queueMax, toolCalls })
    actors.register(sessionKind, {
      effects: sessionEffects({ db, bus, ports, objects, clock, log }),
      write: (tx, entries) => sessions.write(tx, entries),
      limits: (tx) => sessions.limits(tx)
    })
    jobs.define(EXPIRE_JOB, ExpireJob, ({ data }) => sessions.expire(data), { expireInSeconds: 60 })
    bus.on('pulse.plan', TenantPlanChanged, (tx, { tenantId }) =>
      sessions.changePlan(tx, must(tenantId, 'the tenant of a plan'))
    )
    sessionRoutes(app, sessions)
    logRoutes(app)
    sessionMethods(app, sessions)
  }
})
