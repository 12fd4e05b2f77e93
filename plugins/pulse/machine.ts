import { assign, setup } from 'xstate'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { SESSION_ERRORS } from './errors.ts'
import type { SessionConfig } from './schema.ts'
import { spend, type Trace, type Used } from './usage.ts'

export interface SessionFailure {
  readonly code: string
  readonly message: string
  readonly step?: string | undefined
}

export interface GateVerdict {
  readonly verdict: 'passed' | 'failed' | 'error'
  readonly reason: string | null
}

/** What never changes after creation: stored in columns of its own, not in the context of every commit. */
export interface SessionPlan {
  readonly config: SessionConfig
  readonly skills: readonly PinnedSkill[]
  /** The smaller of the config's and the plan's limit; null = unlimited. */
  readonly durationMs: number | null
  /** Tool calls of the tenant that may run at once on a host, by its plan; null = unlimited. */
  readonly toolCalls?: number | null
}

/** What a session remembers between commits. Outputs are in the journal, under `step:<id>`. */
export interface SessionProgressContext {
  /** Steps that are done: the next one is `config.steps[step]`. */
  readonly step: number
  /** Attempts of the next step that failed. */
  readonly failures: number
  /** Epoch ms before which the next attempt must not start. */
  readonly retryAt: number | null
  /** Epoch ms since which the next step is being tried, by its host's clock (for show). */
  readonly since: number | null
  /** A step is done and its checkpoint and gates are not: set until GATES_PASSED. */
  readonly boundary: { readonly checkpointId: string; readonly saved: boolean } | null
  readonly verdicts: Readonly<Record<string, GateVerdict>>
  /** Milliseconds of running so far. */
  readonly activeMs: number
  readonly cpuMs: number
  readonly hostCalls: number
  /** Of models, in and out. */
  readonly tokens: number
  /** What lies in pulse.log. */
  readonly logLines: number
  readonly logBytes: number
  /** Bytes of all outputs so far, as JSON text. */
  readonly outputBytes: number
  readonly resume: boolean
  readonly rollback: 'no' | 'wanted' | 'tried'
  readonly undone: Readonly<Record<string, 'undone' | 'irreversible' | 'undo_failed'>>
  readonly error: SessionFailure | null
}

export type SessionContext = SessionProgressContext & { readonly plan: SessionPlan }

export const INITIAL: SessionProgressContext = {
  step: 0,
  failures: 0,
  retryAt: null,
  since: null,
  boundary: null,
  verdicts: {},
  activeMs: 0,
  cpuMs: 0,
  hostCalls: 0,
  tokens: 0,
  logLines: 0,
  logBytes: 0,
  outputBytes: 0,
  resume: false,
  rollback: 'no',
  undone: {},
  error: null
}

export type SessionEvent =
  | { type: 'QUEUE' }
  | { type: 'START' }
  | { type: 'STEP_DONE'; used: Used; trace?: Trace; checkpointId: string; outputBytes: number }
  | { type: 'STEP_RETRY'; used: Used; trace?: Trace; retryAt: number }
  | { type: 'STEP_FAILED'; used: Used; trace?: Trace; error: SessionFailure }
  | { type: 'BOUNDARY' }
  | { type: 'CHECKPOINTED' }
  | { type: 'GATE_PASSED'; gate: string }
  | { type: 'GATE_FAILED'; gate: string; reason: string; verdict: 'failed' | 'error' }
  | { type: 'GATES_PASSED' }
  | { type: 'FINISHED'; result: unknown; resultRef: string | null }
  | { type: 'FINISH_FAILED'; error: SessionFailure }
  | { type: 'PAUSE' }
  | { type: 'RESUME' }
  | { type: 'GRANT' }
  | { type: 'CANCEL' }
  | { type: 'EXPIRE'; code: string; message: string }
  | { type: 'ROLL_BACK' }
  | { type: 'UNDONE'; step: string; undo: 'undone' | 'irreversible'; used?: Used; trace?: Trace }
  | { type: 'UNDO_FAILED'; step: string; error: SessionFailure; used?: Used; trace?: Trace }
  | { type: 'ALL_UNDONE' }

/** True where a checkpoint is due or a gate stands after the step just done; always after the last one. */
export function isBoundary(context: SessionContext): boolean {
  const { config } = context.plan
  const done = config.steps[context.step]
  const last = context.step === config.steps.length - 1
  return last || config.checkpoints.every === 'step' || config.gates.some((gate) => gate.after === done?.id)
}

/** The first gate that stands here and has no verdict yet: those after the step just done, at the end also `end`'s. */
export function nextGate(context: SessionContext) {
  const { config } = context.plan
  const done = config.steps[context.step - 1]
  const ended = context.step === config.steps.length
  return config.gates.find(
    (gate) => !(gate.name in context.verdicts) && (gate.after === done?.id || (ended && gate.after === 'end'))
  )
}

/** The newest done step that was not undone yet, if any. */
export function nextUndo(context: SessionContext): string | null {
  for (let index = context.step - 1; index >= 0; index -= 1) {
    const step = context.plan.config.steps[index]
    if (step && !(step.id in context.undone)) return step.id
  }
  return null
}

const gateOf = (context: SessionContext, name: string) => context.plan.config.gates.find((gate) => gate.name === name)

const machineSetup = setup({
  types: { context: {} as SessionContext, events: {} as SessionEvent, input: {} as SessionContext },
  guards: {
    boundary: ({ context }) => isBoundary(context),
    gatePauses: ({ context, event }) => event.type === 'GATE_FAILED' && gateOf(context, event.gate)?.onFail === 'pause',
    notResumed: ({ context }) => !context.resume,
    finished: ({ context }) => context.step >= context.plan.config.steps.length,
    rollbackWanted: ({ context }) => context.rollback === 'wanted'
  },
  actions: {
    stepDone: assign(({ context, event }) =>
      event.type !== 'STEP_DONE'
        ? {}
        : {
            step: context.step + 1,
            failures: 0,
            retryAt: null,
            since: event.used.at,
            outputBytes: context.outputBytes + event.outputBytes,
            ...spend(context, event),
            boundary: isBoundary(context) ? { checkpointId: event.checkpointId, saved: false } : null
          }
    ),
    stepRetried: assign(({ context, event }) =>
      event.type !== 'STEP_RETRY'
        ? {}
        : {
            failures: context.failures + 1,
            retryAt: event.retryAt,
            ...spend(context, event)
          }
    ),
    stepFailed: assign(({ context, event }) =>
      event.type !== 'STEP_FAILED'
        ? {}
        : {
            failures: context.failures + 1,
            retryAt: null,
            ...spend(context, event),
            error: event.error
          }
    ),
    saved: assign(({ context }) => ({ boundary: context.boundary && { ...context.boundary, saved: true } })),
    judged: assign(({ context, event }) => {
      if (event.type === 'GATE_PASSED') {
        return { verdicts: { ...context.verdicts, [event.gate]: { verdict: 'passed', reason: null } as GateVerdict } }
      }
      if (event.type !== 'GATE_FAILED') return {}
      const { gate, reason, verdict } = event
      return { verdicts: { ...context.verdicts, [gate]: { verdict, reason } } }
    }),
    gateFailed: assign(({ context, event }) =>
      event.type !== 'GATE_FAILED'
        ? {}
        : {
            error: { code: SESSION_ERRORS.GATE_FAILED, message: `gate ${event.gate} failed: ${event.reason}` },
            rollback: gateOf(context, event.gate)?.onFail === 'rollback' ? ('wanted' as const) : context.rollback
          }
    ),
    passed: assign({ boundary: null }),
    failed: assign(({ event }) => {
      if (event.type === 'EXPIRE') return { error: { code: event.code, message: event.message }, resume: false }
      if (event.type === 'FINISH_FAILED') return { error: event.error }
      return { error: { code: SESSION_ERRORS.CANCELLED, message: 'the session was cancelled' }, resume: false }
    }),
    resumed: assign({ resume: true }),
    granted: assign({ resume: false }),
    rollingBack: assign({ rollback: 'tried' as const }),
    undone: assign(({ context, event }) =>
      event.type === 'UNDONE'
        ? { ...spend(context, event), undone: { ...context.undone, [event.step]: event.undo } }
        : {}
    ),
    undoFailed: assign(({ context, event }) =>
      event.type === 'UNDO_FAILED'
        ? {
            ...spend(context, event),
            undone: { ...context.undone, [event.step]: 'undo_failed' as const },
            error: event.error
          }
        : {}
    )
  }
})

const ending = {
  CANCEL: { target: 'FAILED', actions: 'failed' },
  EXPIRE: { target: 'FAILED', actions: 'failed' }
} as const

/**
 * The session, exactly docs/spec/session-machine.json. Pure: no invoke, spawn, after, delay or eventless arrow, so every
 * arrow is an event and every arrow is a row of history.
 */
export const sessionMachine = machineSetup.createMachine({
  id: 'session',
  context: ({ input }) => input,
  initial: 'CREATED',
  states: {
    CREATED: { on: { QUEUE: 'QUEUED', ...ending } },
    QUEUED: { on: { START: 'RUNNING', ...ending } },
    RUNNING: {
      on: {
        STEP_DONE: [{ guard: 'boundary', target: 'CHECKPOINT', actions: 'stepDone' }, { actions: 'stepDone' }],
        STEP_RETRY: { actions: 'stepRetried' },
        STEP_FAILED: { target: 'FAILED', actions: 'stepFailed' },
        BOUNDARY: 'CHECKPOINT', // resumed between a step and its gates
        PAUSE: 'PAUSED',
        ...ending
      }
    },
    CHECKPOINT: { on: { CHECKPOINTED: { target: 'GATE_CHECK', actions: 'saved' }, PAUSE: 'PAUSED', ...ending } },
    GATE_CHECK: {
      on: {
        GATE_PASSED: { actions: 'judged' },
        GATE_FAILED: [
          { guard: 'gatePauses', target: 'PAUSED', actions: 'judged' },
          { target: 'FAILED', actions: ['judged', 'gateFailed'] }
        ],
        GATES_PASSED: { target: 'RUNNING', actions: 'passed' },
        FINISHED: { guard: 'finished', target: 'COMPLETE', actions: 'passed' },
        FINISH_FAILED: { target: 'FAILED', actions: 'failed' },
        ...ending
      }
    },
    PAUSED: {
      on: {
        RESUME: { guard: 'notResumed', actions: 'resumed' },
        GRANT: { target: 'RUNNING', actions: 'granted' },
        ...ending
      }
    },
    COMPLETE: { type: 'final' },
    FAILED: { on: { ROLL_BACK: { guard: 'rollbackWanted', target: 'ROLLBACK', actions: 'rollingBack' } } },
    ROLLBACK: {
      on: {
        UNDONE: { actions: 'undone' },
        UNDO_FAILED: { target: 'FAILED', actions: 'undoFailed' },
        ALL_UNDONE: 'ROLLED_BACK'
      }
    },
    ROLLED_BACK: { type: 'final' }
  }
})
