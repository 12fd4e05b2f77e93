import { z } from 'zod'

// null = unlimited, as in docs/spec/plans.json
const limit = z.number().int().nonnegative().nullable()

const Plan = z.object({
  priceUsdPerMonth: z.number().nonnegative().nullable(),
  concurrentSessions: limit,
  sessionMinutes: limit,
  heartbeatChecks: limit,
  dreams: limit,
  skills: z.array(z.enum(['public', 'private', 'custom', 'self-hosted'])),
  modelProviders: limit,
  teamMembers: limit,
  tokensPerMonth: limit,
  support: z.string(),
  sla: z.string().nullable()
})

/** The table of config/plans.json: config owns the numbers, the code only their names. */
export const PlanTable = z.object({ plans: z.record(z.string(), Plan) })

export type Plan = z.output<typeof Plan>
export type PlanTable = z.output<typeof PlanTable>

declare module 'fastify' {
  interface FastifyInstance {
    plans: PlanTable
  }
}
