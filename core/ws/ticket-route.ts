import { z } from 'zod'
import { credentialOf } from '#core/auth/guard.ts'
import type { App } from '#core/plugin.ts'

const Ticket = z.object({ ticket: z.string(), expiresAt: z.string() })

/**
 * For a page that must not hold the key: its server asks for a ticket and the page says hello with it. It goes into the
 * first frame like any token and not into the address, where proxies and histories would keep it.
 */
export function ticketRoute(app: App): void {
  app.route({
    method: 'POST',
    url: '/v1/ws/ticket',
    config: { permission: 'authenticated' },
    schema: {
      tags: ['events'],
      summary: "A ticket for one WebSocket connection within 30 seconds: hello's `token`",
      response: { 201: Ticket }
    },
    handler: async (request, reply) => {
      const { tenantId } = request.auth
      const { ticket, expiresAt } = await request.tenant((tx) =>
        app.auth.tickets.make(tx, tenantId, credentialOf(request), request.ip)
      )
      const answer = { ticket: ticket.reveal(), expiresAt: expiresAt.toISOString() }
      return reply.status(201).header('cache-control', 'no-store').send(answer)
    }
  })
}
