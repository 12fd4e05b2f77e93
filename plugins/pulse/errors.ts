import { defineError } from '#core/errors.ts'

/** One thing that is wrong with a session config: its place, what is wrong, and its code. */
export interface ConfigProblem {
  readonly pointer: string
  readonly detail: string
  readonly code: string
}

/** The code of the answer is the first problem's; `errors` lists them all. */
const problems = (list: readonly ConfigProblem[]) => ({
  message: list.map((problem) => `${problem.pointer || '/'}: ${problem.detail}`).join('; '),
  details: { errors: list.map((problem) => ({ ...problem })) }
})

export const RefUnknown = defineError('PULSE_REF_UNKNOWN', 422, problems)
export const RefCycle = defineError('PULSE_REF_CYCLE', 422, problems)
export const ToolUnknown = defineError('PULSE_TOOL_UNKNOWN', 422, problems)
export const ToolInputInvalid = defineError('PULSE_TOOL_INPUT_INVALID', 422, problems)
export const GateInvalid = defineError('PULSE_GATE_INVALID', 422, problems)
export const StepInvalid = defineError('PULSE_STEP_INVALID', 422, problems)
export const LimitExceeded = defineError('PULSE_LIMIT_EXCEEDED', 422, problems)
export const InputUnstorable = defineError('PULSE_INPUT_UNSTORABLE', 422, problems)

/** Class by code, for answers made of collected problems. */
export const CONFIG_ERRORS = {
  PULSE_REF_UNKNOWN: RefUnknown,
  PULSE_REF_CYCLE: RefCycle,
  PULSE_TOOL_UNKNOWN: ToolUnknown,
  PULSE_TOOL_INPUT_INVALID: ToolInputInvalid,
  PULSE_GATE_INVALID: GateInvalid,
  PULSE_STEP_INVALID: StepInvalid,
  PULSE_LIMIT_EXCEEDED: LimitExceeded,
  PULSE_INPUT_UNSTORABLE: InputUnstorable
} as const

export type ConfigErrorCode = keyof typeof CONFIG_ERRORS

export const SessionNotFound = defineError(
  'PULSE_SESSION_NOT_FOUND',
  404,
  (id: string) => `session ${id} does not exist`
)
export const SessionConflict = defineError(
  'PULSE_SESSION_CONFLICT',
  409,
  (id: string, command: string, state: string) => ({
    message: `session ${id} is ${state}: it cannot be ${PARTICIPLE[command] ?? command} now`,
    details: { state, command }
  })
)

const PARTICIPLE: Readonly<Record<string, string>> = {
  PAUSE: 'paused',
  RESUME: 'resumed',
  CANCEL: 'cancelled',
  QUEUE: 'run'
}

/** Codes of `error` in a session that failed; they are no HTTP answers. */
export const SESSION_ERRORS = {
  CANCELLED: 'PULSE_SESSION_CANCELLED',
  DEADLINE: 'PULSE_DEADLINE_PASSED',
  DURATION: 'PULSE_DURATION_EXCEEDED',
  CPU: 'PULSE_CPU_EXCEEDED',
  HOST_CALLS: 'PULSE_HOST_CALLS_EXCEEDED',
  TOKENS: 'PULSE_TOKENS_EXCEEDED',
  PAUSE_EXPIRED: 'PULSE_PAUSE_EXPIRED',
  GATE_FAILED: 'PULSE_GATE_FAILED',
  UNDO_FAILED: 'PULSE_UNDO_FAILED',
  INPUT_TOO_LARGE: 'PULSE_INPUT_TOO_LARGE',
  OUTPUTS_TOO_LARGE: 'PULSE_OUTPUTS_TOO_LARGE',
  REF_UNRESOLVED: 'PULSE_REF_UNRESOLVED',
  OUTPUT_UNSTORABLE: 'PULSE_OUTPUT_UNSTORABLE',
  RESULT_TOO_LARGE: 'PULSE_RESULT_TOO_LARGE',
  INTERNAL: 'PULSE_INTERNAL'
} as const
