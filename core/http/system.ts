import { z } from 'zod'
import { type App, definePlugin } from '#core/plugin.ts'

const RoomShape = z.object({
  name: z.string(),
  needs: z.array(z.string()),
  permissions: z.record(z.string(), z.string()),
  tables: z.array(z.string()),
  emits: z.array(z.string()),
  consumes: z.array(z.string()),
  machines: z.array(z.string()),
  provides: z.array(z.string()),
  uses: z.array(z.string()),
  decorators: z.array(z.string()),
  routes: z.array(z.object({ method: z.string(), url: z.string(), permission: z.string() })),
  state: z.enum(['waiting', 'registering', 'registered'])
})

/** A manifest as `GET /v1/system/rooms` shows it. */
export type RoomInfo = z.output<typeof RoomShape>

/** What the kernel says of itself, to Tenant Zero's operators. */
export const systemRoom = definePlugin({
  name: 'system',
  needs: ['db'],
  tables: ['core.idempotency'],
  migrations: new URL('./sql/', import.meta.url),
  permissions: { 'platform:rooms': 'See which rooms this server runs: their routes, tables, events and needs.' },
  register: systemRoutes
})

function systemRoutes(app: App): void {
  // The first one is older than the rule that platform permissions are under /v1/platform (docs/decisions/0006).
  for (const url of ['/v1/system/rooms', '/v1/platform/rooms']) {
    app.route({
      method: 'GET',
      url,
      config: { permission: 'platform:rooms' },
      schema: {
        tags: ['system'],
        summary: 'The rooms of this server, in boot order',
        response: { 200: z.object({ data: z.array(RoomShape) }) }
      },
      handler: async () => ({ data: app.rooms() })
    })
  }
}
