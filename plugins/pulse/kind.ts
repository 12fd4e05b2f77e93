import type { ActorRow, Applied, Wants } from '#core/actors/index.ts'
import { defineMachine } from '#core/actors/index.ts'
import { type PendingEvent, pending } from '#core/events.ts'
import { storableText } from '#core/json.ts'
import { SESSION_ERRORS } from './errors.ts'
import {
  SessionCancelled,
  SessionCheckpoint,
  SessionCompleted,
  SessionCreated,
  SessionFailed,
  SessionGateFailed,
  SessionGatePassed,
  SessionPaused,
  SessionProgress,
  SessionResumed,
  SessionRolledBack,
  SessionStarted,
  SessionUsage
} from './events.ts'
import type { LogLine } from './log.ts'
import {
  INITIAL,
  nextGate,
  nextUndo,
  type SessionContext,
  type SessionEvent,
  type SessionPlan,
  type SessionProgressContext,
  sessionMachine
} from './machine.ts'
import { DEFAULT_PAUSE_MS } from './schema.ts'

/** Journal keys: an effect's outcome is recorded once under its key, whatever the attempts. */
export const stepKey = (step: string) => `step:${step}`
export const undoKey = (step: string) => `undo:${step}`

/** What a state wants done, from state and context alone: a restored session wants exactly the same. */
export const wants: Wants<typeof sessionMachine> = {
  RUNNING: (context) => {
    if (context.boundary) return { event: { type: 'BOUNDARY' }, cause: 'step' }
    const step = context.plan.config.steps[context.step]
    if (!step) return null
    const wait = context.retryAt === null ? {} : { notBefore: context.retryAt }
    return { effect: 'runStep', key: stepKey(step.id), ...wait }
  },
  CHECKPOINT: () => ({ event: { type: 'CHECKPOINTED' }, cause: 'step' }),
  GATE_CHECK: (context) => {
    const gate = nextGate(context)
    if (gate) return { effect: 'runGate', key: `gate:${gate.name}`, pure: true }
    if (context.step < context.plan.config.steps.length) return { event: { type: 'GATES_PASSED' }, cause: 'gate' }
    return { effect: 'finish', key: 'finish', pure: true }
  },
  FAILED: (context) => (context.rollback === 'wanted' ? { event: { type: 'ROLL_BACK' }, cause: 'gate' } : null),
  ROLLBACK: (context) => {
    const step = nextUndo(context)
    if (step === null) return { event: { type: 'ALL_UNDONE' }, cause: 'step' }
    return { effect: 'undoStep', key: undoKey(step) }
  }
}

/** Rows of pulse's own tables that a commit carries. */
export type SessionRow =
  | { kind: 'checkpoint'; id: string; step: string; snapshot: SessionProgressContext }
  | { kind: 'result'; result: unknown; resultRef: string | null }
  | { kind: 'paused'; pauseMs: number }
  | { kind: 'log'; lines: readonly LogLine[] }

type SessionApplied = Applied<SessionContext, SessionEvent>

/** The session as the actor host runs it. */
export const sessionKind = defineMachine({
  kind: 'session',
  table: 'pulse.session',
  columns: ['config', 'pinned'],
  machine: sessionMachine,
  wants,
  finals: ['COMPLETE', 'FAILED', 'ROLLED_BACK'],
  grants: { QUEUED: { to: 'RUNNING', event: 'START' }, PAUSED: { to: 'RUNNING', event: 'GRANT' } },
  interrupts: ['CANCEL', 'EXPIRE'],
  broken,
  queued: (state, context) => state === 'QUEUED' || (state === 'PAUSED' && context.resume),
  persist,
  restore,
  announce,
  rows
})

// A session that cannot go on ends as one that says so; a rollback that cannot, as one that names what it did not undo.
function broken(state: string, context: SessionContext): SessionEvent | null {
  const code = SESSION_ERRORS.INTERNAL
  const message = 'the session could not go on: its outcome could not be recorded, again and again'
  if (state === 'ROLLBACK') return { type: 'UNDO_FAILED', step: nextUndo(context) ?? '', error: { code, message } }
  return { type: 'EXPIRE', code, message }
}

/** The part that is written with every commit: everything but the plan, which never changes. */
function persist(context: SessionContext): SessionProgressContext {
  const { plan: _plan, ...progress } = context
  return progress
}

function restore(row: ActorRow): SessionContext {
  const progress = row.context as unknown as SessionProgressContext
  const pinned = row.columns.pinned as Omit<SessionPlan, 'config'>
  const plan = { config: row.columns.config as SessionPlan['config'], ...pinned }
  // The claim grants a slot in SQL, which leaves the context as it was: the flag means something in PAUSED only.
  // INITIAL first: a row of an older version has not all the counters.
  return { ...INITIAL, ...progress, plan, resume: row.state === 'PAUSED' && progress.resume }
}

/** Share of steps done, 0 to 100. */
export function percent(done: number, steps: number): number {
  return Math.floor((100 * done) / steps)
}

// The usage goes first: a stream of the session ends with the news that it failed.
function announce(applied: SessionApplied): PendingEvent[] {
  const usage = traceOf(applied.event)?.usage
  const news = newsOf(applied)
  return usage ? [pending(SessionUsage, applied.ref.id, usage), ...news] : news
}

const traceOf = (event: SessionEvent) => ('trace' in event ? event.trace : undefined)

function newsOf(applied: SessionApplied): PendingEvent[] {
  const { ref, event, to, before, context } = applied
  const sessionId = ref.id
  const steps = context.plan.config.steps
  const failed = () => {
    const { code, message, step } = context.error ?? { code: 'PULSE_INTERNAL', message: 'no reason recorded' }
    const data = { sessionId, error: storableText(message, 2000), code, ...(step === undefined ? {} : { step }) }
    return pending(SessionFailed, sessionId, data)
  }
  switch (event.type) {
    case 'QUEUE':
      return []
    case 'START':
      return [pending(SessionStarted, sessionId, { sessionId })]
    case 'GRANT':
      return [pending(SessionResumed, sessionId, { sessionId })]
    case 'STEP_DONE': {
      const step = steps[before.step]?.id ?? ''
      return [pending(SessionProgress, sessionId, { sessionId, step, pct: percent(context.step, steps.length) })]
    }
    case 'CHECKPOINTED': {
      const checkpointId = before.boundary?.checkpointId
      if (!checkpointId || before.boundary?.saved) return []
      return [pending(SessionCheckpoint, sessionId, { sessionId, checkpointId })]
    }
    case 'GATE_PASSED':
      return [pending(SessionGatePassed, sessionId, { sessionId, gate: event.gate })]
    case 'GATE_FAILED': {
      const news = pending(SessionGateFailed, sessionId, { sessionId, gate: event.gate, reason: event.reason })
      return to === 'PAUSED'
        ? [news, pending(SessionPaused, sessionId, { sessionId, cause: 'gate', gate: event.gate })]
        : [news, failed()]
    }
    case 'PAUSE':
      return [pending(SessionPaused, sessionId, { sessionId, cause: 'command' })]
    case 'CANCEL':
      return [pending(SessionCancelled, sessionId, { sessionId }), failed()]
    case 'STEP_FAILED':
    case 'FINISH_FAILED':
    case 'EXPIRE':
      return [failed()]
    case 'FINISHED': {
      const fits = Buffer.byteLength(JSON.stringify(event.result) ?? 'null') <= RESULT_IN_EVENT
      const data = fits
        ? { sessionId, result: event.result ?? null }
        : { sessionId, result: null, truncated: true as const }
      return [pending(SessionCompleted, sessionId, data)]
    }
    case 'ALL_UNDONE': {
      const list = (wanted: boolean) =>
        steps
          .filter(({ id }) => id in context.undone && (context.undone[id] === 'undone') === wanted)
          .map(({ id }) => id)
      const [undone, notUndone] = [list(true), list(false)]
      const cut = undone.length > IDS_IN_EVENT || notUndone.length > IDS_IN_EVENT ? { truncated: true as const } : {}
      const shown = (ids: string[]) => ids.slice(0, IDS_IN_EVENT)
      return [
        pending(SessionRolledBack, sessionId, { sessionId, undone: shown(undone), notUndone: shown(notUndone), ...cut })
      ]
    }
    default:
      return []
  }
}

/** An event's data is at most 16 KiB; this leaves room for the rest of it. */
const RESULT_IN_EVENT = 15 * 1024
const INPUT_IN_EVENT = 4 * 1024
/** Step ids are at most 64 bytes: two lists of these fit. */
const IDS_IN_EVENT = 100
const CONFIG_IN_EVENT = 15 * 1024

/** The first event of a session. The config is without input above 4 KiB, and cut to its outline where still too long. */
export function sessionCreated(sessionId: string, config: SessionPlan['config']): PendingEvent {
  const { input, ...rest } = config
  const small = Buffer.byteLength(JSON.stringify(input)) <= INPUT_IN_EVENT
  const shown: Record<string, unknown> = small ? { ...config } : rest
  const fits = Buffer.byteLength(JSON.stringify(shown)) <= CONFIG_IN_EVENT
  const outline = {
    name: config.name,
    agent: config.agent,
    stepCount: config.steps.length,
    gateCount: config.gates.length
  }
  return pending(SessionCreated, sessionId, {
    sessionId,
    config: fits ? shown : outline,
    ...(small && fits ? {} : { truncated: true as const })
  })
}

function rows(applied: SessionApplied): SessionRow[] {
  const lines = traceOf(applied.event)?.lines ?? []
  const own = ownRows(applied)
  return lines.length > 0 ? [{ kind: 'log', lines }, ...own] : own
}

function ownRows(applied: SessionApplied): SessionRow[] {
  const { event, before, context, to, from } = applied
  if (event.type === 'CHECKPOINTED' && before.boundary && !before.boundary.saved) {
    const step = context.plan.config.steps[context.step - 1]?.id ?? ''
    return [{ kind: 'checkpoint', id: before.boundary.checkpointId, step, snapshot: persist(context) }]
  }
  if (event.type === 'FINISHED') return [{ kind: 'result', result: event.result, resultRef: event.resultRef }]
  if (to === 'PAUSED' && from !== 'PAUSED') {
    return [{ kind: 'paused', pauseMs: context.plan.config.limits.pauseMs ?? DEFAULT_PAUSE_MS }]
  }
  return []
}
