import { z } from 'zod'
import { NotFound } from '#core/errors.ts'
import type { Log } from '#core/log.ts'
import { type App, definePlugin } from '#core/plugin.ts'
import { scrubberCheck } from './scrubber.ts'

const Line = z.object({
  name: z.string(),
  title: z.string(),
  ok: z.union([z.boolean(), z.literal('unknown')]),
  detail: z.string(),
  fix: z.string().optional(),
  ms: z.number()
})
const Report = z.object({ group: z.string(), ok: z.boolean(), at: z.string(), checks: z.array(Line) })
const Groups = z.object({ data: z.array(z.object({ group: z.string(), checks: z.array(z.string()) })) })
const GroupParams = z.strictObject({ group: z.string().max(64) })

/** What holds on this server, looked at when an operator asks (`agentos doctor`). */
export const doctorRoom = definePlugin({
  name: 'doctor',
  permissions: { 'platform:doctor': 'See which promises of isolation hold on this server.' },
  register: doctorRoutes
})

function doctorRoutes(app: App): void {
  app.doctor.add('tenancy', scrubberCheck(app.log as Log))

  app.route({
    method: 'GET',
    url: '/v1/platform/doctor',
    config: { permission: 'platform:doctor' },
    schema: { tags: ['platform'], summary: 'The groups of checks, with their names', response: { 200: Groups } },
    handler: async () => ({ data: app.doctor.groups() })
  })

  app.route({
    method: 'GET',
    url: '/v1/platform/doctor/:group',
    config: { permission: 'platform:doctor' },
    schema: {
      tags: ['platform'],
      summary: 'Run the checks of a group now',
      params: GroupParams,
      response: { 200: Report }
    },
    handler: async (request) => {
      const report = await app.doctor.run(request.params.group)
      if (report === undefined) throw new NotFound('this group of checks')
      return report
    }
  })
}
