import { z } from 'zod'
import { defineEvent } from '#core/events.ts'

const sessionId = z.uuid()
const subject = 'session'

/** `config` as far as it fits: without input above 4 KiB, and then with `truncated: true`. */
export const SessionCreated = defineEvent('session.created', {
  subject,
  data: z.object({ sessionId, config: z.record(z.string(), z.unknown()), truncated: z.literal(true).optional() })
})
export const SessionStarted = defineEvent('session.started', { subject, data: z.object({ sessionId }) })
/** `pct` is an integer and never falls. */
export const SessionProgress = defineEvent('session.progress', {
  subject,
  data: z.object({ sessionId, step: z.string(), pct: z.int().min(0).max(100) })
})
export const SessionCheckpoint = defineEvent('session.checkpoint', {
  subject,
  data: z.object({ sessionId, checkpointId: z.uuid() })
})
export const SessionGatePassed = defineEvent('session.gate.passed', {
  subject,
  data: z.object({ sessionId, gate: z.string() })
})
export const SessionGateFailed = defineEvent('session.gate.failed', {
  subject,
  data: z.object({ sessionId, gate: z.string(), reason: z.string() })
})
/** A result that would not fit into an event is left out; `GET /v1/sessions/{id}` has it. */
export const SessionCompleted = defineEvent('session.completed', {
  subject,
  data: z.object({ sessionId, result: z.unknown(), truncated: z.literal(true).optional() })
})
/** `error` is the message for people, `code` the stable one for machines. */
export const SessionFailed = defineEvent('session.failed', {
  subject,
  data: z.object({ sessionId, error: z.string(), code: z.string(), step: z.string().optional() })
})
export const SessionPaused = defineEvent('session.paused', {
  subject,
  data: z.object({ sessionId, cause: z.enum(['command', 'gate']), gate: z.string().optional() })
})
export const SessionResumed = defineEvent('session.resumed', { subject, data: z.object({ sessionId }) })
export const SessionCancelled = defineEvent('session.cancelled', { subject, data: z.object({ sessionId }) })
/** Steps whose effect was taken back, and those whose effect stays in the world. */
export const SessionRolledBack = defineEvent('session.rolled_back', {
  subject,
  data: z.object({
    sessionId,
    undone: z.array(z.string()),
    notUndone: z.array(z.string()),
    truncated: z.literal(true).optional()
  })
})
