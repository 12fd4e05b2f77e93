import { AppError } from '#core/errors.ts'
import { storableText } from '#core/json.ts'
import { ToolError } from '#core/ports/tools.ts'
import { spentBudget } from './budgets.ts'
import { SESSION_ERRORS } from './errors.ts'
import type { SessionContext, SessionFailure } from './machine.ts'
import { RefsTooLarge, RefUnresolved } from './refs.ts'
import type { Used } from './usage.ts'

/** Longest message of a failure, in characters. Each may be six bytes of JSON, and the event holds 16 KiB. */
export const MAX_MESSAGE = 2000

/** A step's own failure; never worth another attempt. */
export class StepError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export interface Failure {
  error: SessionFailure
  retryable: boolean
  /** Where in the author's code it was thrown, if that is known. */
  stack?: string
}

/** What a step that threw fails with. */
export function describeFailure(
  log: { error(fields: object, message: string): void },
  error: unknown,
  { sessionId, step }: { sessionId: string; step: string },
  context: SessionContext,
  used: Used
): Failure {
  const message = storableText(error instanceof Error ? error.message : String(error), MAX_MESSAGE)
  const final = (code: string): Failure => ({ error: { code, message, step }, retryable: false })
  if (error instanceof StepError) return final(error.code)
  if (error instanceof RefUnresolved) return final(SESSION_ERRORS.REF_UNRESOLVED)
  if (error instanceof RefsTooLarge) return final(SESSION_ERRORS.INPUT_TOO_LARGE)
  if (error instanceof ToolError) {
    // The step's own limits may be met again at the next attempt; the session's are used up for good.
    const spent = spentBudget(context, used, error)
    const stack = error.details?.stack
    return {
      error: { code: error.code, message, step, ...spent },
      retryable: spent === null && error.retryable,
      ...(typeof stack === 'string' && stack !== '' ? { stack } : {})
    }
  }
  if (error instanceof AppError && error.status < 500) return final(error.code)
  // Ours, not the skill's: the client gets no inside story, the operator does.
  log.error({ err: error, sessionId }, 'a step broke')
  return { error: { code: SESSION_ERRORS.INTERNAL, message: 'the step could not be run', step }, retryable: true }
}
