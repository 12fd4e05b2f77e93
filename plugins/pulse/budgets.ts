import type { ToolCall, ToolError } from '#core/ports/tools.ts'
import { SESSION_ERRORS } from './errors.ts'
import type { SessionContext } from './machine.ts'
import type { Used } from './usage.ts'

// What a session may use in all: running time, the deadline, CPU time, host calls, tokens. A step begins with what is left.

interface Spent {
  code: string
  message: string
}

/**
 * What a call may still use: the smallest of the step's, the session's and the deadline's remaining time, and what is
 * left of the session's other limits; or the limit that is used up.
 */
export function leftFor(
  context: SessionContext,
  now: number,
  stepMs: number | undefined
): { spent: Spent } | { timeoutMs?: number; left?: NonNullable<ToolCall['left']> } {
  const { durationMs, config } = context.plan
  const { cpuMs, hostCalls, tokens } = config.limits
  const times: number[] = stepMs === undefined ? [] : [stepMs]
  if (durationMs !== null) times.push(durationMs - context.activeMs)
  if (config.deadline !== undefined) times.push(Date.parse(config.deadline) - now)
  if (durationMs !== null && context.activeMs >= durationMs) return { spent: duration(context) }
  if (config.deadline !== undefined && now >= Date.parse(config.deadline)) return { spent: deadline(context) }
  // Whole milliseconds: the sandbox takes no less, and a call of none would be over before it began.
  if (cpuMs !== undefined && cpuMs - context.cpuMs < 1) return { spent: cpu(context) }
  if (tokens !== undefined && context.tokens > tokens) return { spent: tokensSpent(context) }
  const left = {
    ...(cpuMs === undefined ? {} : { cpuMs: Math.floor(cpuMs - context.cpuMs) }),
    // None left stops nobody who needs none: the call fails at the first that it makes.
    ...(hostCalls === undefined ? {} : { hostCalls: Math.max(0, hostCalls - context.hostCalls) }),
    ...(tokens === undefined ? {} : { tokens: tokens - context.tokens })
  }
  return {
    ...(times.length > 0 ? { timeoutMs: Math.min(...times) } : {}),
    ...(Object.keys(left).length > 0 ? { left } : {})
  }
}

/**
 * The session's limit that a failed call ran into, if it was none of its own. Not the tokens: a model that refuses is an
 * error within the skill, and what a skill throws has the code SKILL_ERROR.
 */
export function spentBudget(context: SessionContext, used: Used, error: ToolError): Spent | null {
  const { limits, deadline: until } = context.plan.config
  const reached = (limit: number | undefined, total: number) => limit !== undefined && total >= limit
  switch (error.code) {
    case 'SANDBOX_TIMEOUT': {
      if (until !== undefined && used.at >= Date.parse(until)) return deadline(context)
      if (isSpent(context, used.activeMs)) return duration(context)
      // The call got whole milliseconds of what was left.
      const cpuSpent = error.details?.limit === 'cpuMs' && reached(limits.cpuMs, context.cpuMs + used.cpuMs + 1)
      return cpuSpent ? cpu(context) : null
    }
    case 'SANDBOX_HOST_CALLS':
      return reached(limits.hostCalls, context.hostCalls + used.hostCalls) ? hostCallsSpent(context) : null
    default:
      return null
  }
}

/** Whether `activeMs` more would use up the session's running time. */
export function isSpent(context: SessionContext, activeMs: number): boolean {
  const { durationMs } = context.plan
  return durationMs !== null && context.activeMs + activeMs >= durationMs
}

export const duration = (context: SessionContext): Spent => ({
  code: SESSION_ERRORS.DURATION,
  message: `the session used up its ${context.plan.durationMs} ms of running time`
})

const deadline = ({ plan }: SessionContext): Spent => ({
  code: SESSION_ERRORS.DEADLINE,
  message: `the deadline ${plan.config.deadline} has passed`
})

const cpu = ({ plan }: SessionContext): Spent => ({
  code: SESSION_ERRORS.CPU,
  message: `the session used up its ${plan.config.limits.cpuMs} ms of CPU time (limits.cpuMs)`
})

const hostCallsSpent = ({ plan }: SessionContext): Spent => ({
  code: SESSION_ERRORS.HOST_CALLS,
  message: `the session used up its ${plan.config.limits.hostCalls} host calls (limits.hostCalls)`
})

const tokensSpent = ({ plan }: SessionContext): Spent => ({
  code: SESSION_ERRORS.TOKENS,
  message: `the session used up its ${plan.config.limits.tokens} tokens (limits.tokens)`
})
