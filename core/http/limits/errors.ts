import { defineError } from '#core/errors.ts'

/** @param resetsAt ms epoch; @param resetMs until then */
export const RateLimited = defineError(
  'RATE_LIMITED',
  429,
  (what: { kind: string; limit: number; windowMs: number; resetMs: number; now: number }) => ({
    message: `more than ${what.limit} ${what.kind} requests in ${what.windowMs / 1000} s: wait ${seconds(what.resetMs)} s`,
    details: {
      kind: what.kind,
      limit: what.limit,
      used: what.limit,
      windowMs: what.windowMs,
      resetsAt: new Date(what.now + what.resetMs).toISOString()
    },
    retryAfterMs: seconds(what.resetMs) * 1000
  })
)

function seconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}
