import { z } from 'zod'
import { defineEvent } from '#core/events.ts'

const sessionId = z.uuid()
const subject = 'session'
const count = z.int().min(0)
const ms = z.number().min(0)

/** `config` as far as it fits: without input above 4 KiB, and then with `truncated: true`. */
export const SessionCreated = defineEvent('session.created', {
  subject,
  data: z.object({ sessionId, config: z.record(z.string(), z.unknown()), truncated: z.literal(true).optional() })
})
export const SessionStarted = defineEvent('session.started', { subject, data: z.object({ sessionId }) })
/** `pct` is an integer and never falls; beside the one of a finished step, at most one a second while a step runs. */
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

const usage = z.object({
  sessionId,
  key: z.string().describe('of the call, never twice in a session: what a ledger dedupes by'),
  step: z.string(),
  attempt: z.int().min(1),
  outcome: z.enum(['done', 'retried', 'failed', 'undone', 'undo_failed', 'cut_off']),
  skill: z.string(),
  version: z.string(),
  tool: z.string(),
  cpuMs: ms.describe('to the microsecond'),
  wallMs: ms,
  hostCalls: count,
  tokens: count,
  calls: z.int().min(1).describe('of tools: its own, and one for each that it called'),
  killed: z.boolean()
})
export type UsageData = z.output<typeof usage>

/**
 * What one attempt of a step used, in the commit of its outcome, whatever that is. `cut_off`: a command, a timer or the end of
 * its host ended it, and no outcome will be; the same attempt may run again and is told then under its own key.
 */
export const SessionUsage = defineEvent('session.usage', { subject, data: usage })
