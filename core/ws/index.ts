import websocket from '@fastify/websocket'
import { defineError } from '#core/errors.ts'
import { type App, definePlugin } from '#core/plugin.ts'
import { MAX_FRAME_BYTES } from './frames.ts'
import { type Gateway, wsPermissions } from './gateway.ts'
import { ticketRoute } from './ticket-route.ts'

export { Gateway, type GatewayOptions } from './gateway.ts'
export type { Method, MethodContext } from './methods.ts'

export const UpgradeRequired = defineError(
  'WS_UPGRADE_REQUIRED',
  426,
  () => 'this address speaks WebSocket: connect with an upgrade'
)

declare module 'fastify' {
  interface FastifyInstance {
    ws: Gateway
  }
}

/** The room that gives the kernel's gateway its address. */
export const gatewayRoom = definePlugin({
  name: 'gateway',
  needs: ['ws'],
  permissions: wsPermissions,
  async register(app) {
    await registerWs(app, app.ws)
    ticketRoute(app)
    app.shutdown.step('close-sockets', 'ws', () => app.ws.close())
  }
})

/** Adds `/v1/ws` to the app. Identity is hello's business, hence the public permission. */
export async function registerWs(app: App, gateway: Gateway): Promise<void> {
  await app.register(websocket, {
    // No compression: one shared context per socket is memory for us and a length oracle for others.
    options: { maxPayload: MAX_FRAME_BYTES, perMessageDeflate: false },
    errorHandler: (error) => app.log.debug({ err: error }, 'a WebSocket broke'),
    preClose(done) {
      gateway.close()
      app.websocketServer.close(() => {})
      done()
    }
  })
  app.route({
    method: 'GET',
    url: '/v1/ws',
    config: { permission: 'public' },
    schema: { hide: true },
    handler: (_request, reply) => {
      reply.header('upgrade', 'websocket')
      throw new UpgradeRequired()
    },
    wsHandler(socket, request) {
      const { origin, host, authorization } = request.headers
      gateway.accept(socket, {
        from: request.ip,
        query: request.url.includes('?'),
        ...(origin === undefined ? {} : { origin }),
        ...(host === undefined ? {} : { host }),
        ...(authorization === undefined ? {} : { authorization })
      })
    }
  })
}
