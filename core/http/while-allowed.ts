import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { reauthorize } from '#core/auth/guard.ts'
import { AppError } from '#core/errors.ts'

/** With answers of at most 2 s (core/auth/guard.ts), a revocation anywhere cuts the stream within 5. */
const EVERY_MS = 2500

/**
 * Cuts a long answer off when its sender may not have it any more: its key was revoked, its member put out, its tenant
 * suspended. The client sees a broken answer and not one that ended.
 * @param out what is sent; closed by whoever sends it
 */
export function whileAllowed(request: FastifyRequest, out: Readable): void {
  const timer = request.server.clock.every(EVERY_MS, () => {
    reauthorize(request).catch((thrown) => {
      // What else fails is the database's trouble, not the client's.
      if (thrown instanceof AppError && (thrown.status === 401 || thrown.status === 403)) out.destroy(thrown)
    })
  })
  out.once('close', () => timer.cancel())
}
