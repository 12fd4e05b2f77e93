import { defineError, errorMessage } from '#core/errors.ts'

/** Redis does not answer, or not in time. Callers go on without it; no request is refused for this. */
export const RedisAway = defineError('REDIS_AWAY', 503, (cause: unknown) => ({
  message: `Redis does not answer: ${errorMessage(cause)}`,
  retryAfterMs: 1000,
  cause
}))
