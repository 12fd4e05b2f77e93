import { Socket } from 'node:net'
import type { Clock } from '#core/clock.ts'
import type { App } from '#core/plugin.ts'
import { allowOrigins } from './cors.ts'
import { HeadersTooMany } from './errors.ts'
import { secureHeaders } from './headers.ts'
import { shedLoad } from './pressure.ts'
import { ForwardedWatch, trusted } from './proxy.ts'
import type { EdgeOptions } from './types.ts'

export { addEdgeChecks } from './doctor.ts'
export { pagePolicy } from './headers.ts'
export type { EdgeOptions } from './types.ts'

/** No honest client has more; what comes with thousands costs us time in every hook. */
const mostHeaders = 100

/** What Fastify must know when it is made. */
export function edgeServer({ trustProxy }: EdgeOptions) {
  return {
    trustProxy: trusted(trustProxy),
    requestTimeout: 60_000, // a body that trickles in slower than this is cut
    http: {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 10_000, // and headers that do
      connectionsCheckingInterval: 2000 // how late the two are noticed
    }
  }
}

/** The hooks before everything else, in the order in which a request meets them. */
export async function guardEdge(app: App, edge: EdgeOptions, clock: Clock): Promise<ForwardedWatch> {
  const forwarded = new ForwardedWatch(clock)
  await secureHeaders(app)
  await allowOrigins(app, edge.allowedOrigins ?? [])
  app.addHook('onRequest', async ({ raw }) => {
    if (raw.rawHeaders.length > mostHeaders * 2) throw new HeadersTooMany(mostHeaders)
  })
  // A connection that asked for an upgrade is off the server's books: refused in a hook, nobody would ever close it.
  app.addHook('onResponse', async ({ headers, raw: { socket } }) => {
    if (headers.upgrade !== undefined && socket instanceof Socket) socket.destroySoon()
  })
  if (edge.pressure) await shedLoad(app, edge.pressure)
  if (edge.trustProxy === undefined || edge.trustProxy === false) forwarded.watch(app)
  return forwarded
}
