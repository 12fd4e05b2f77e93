import type { SandboxUsage } from './types.ts'

export type SandboxErrorCode =
  | 'SANDBOX_TIMEOUT'
  | 'SANDBOX_MEMORY'
  | 'RESULT_TOO_LARGE'
  | 'SANDBOX_INPUT_TOO_LARGE'
  | 'SKILL_ERROR'
  | 'SKILL_RESULT_INVALID'
  | 'SANDBOX_KILLED'
  | 'SANDBOX_BUSY'
  | 'SANDBOX_CANCELLED'
  | 'SANDBOX_CLOSED'
  | 'SKILL_LOAD_FAILED'
  | 'CAPABILITY_DENIED'
  | 'SANDBOX_HOST_CALLS'
  | 'SANDBOX_ISOLATION_REQUIRED'
  | 'SANDBOX_DIVERGED'

/**
 * Every failure of a call. `message` is for the skill's author and never holds a host path.
 * `retryable`: the call did nothing wrong; it may be sent again. `details` may hold {name, stack} of the author's error,
 * {limit, max}, {reason} of a kill, and {cpuMs, generation} where they are known. `usage` is undefined only when no cell
 * ever ran the call.
 */
export class SandboxError extends Error {
  readonly code: SandboxErrorCode
  readonly retryable: boolean
  readonly details: Record<string, unknown>
  usage: SandboxUsage | undefined

  constructor(
    code: SandboxErrorCode,
    message: string,
    options: { retryable?: boolean; details?: Record<string, unknown>; usage?: SandboxUsage | undefined } = {}
  ) {
    super(message)
    this.name = 'SandboxError'
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
    this.usage = options.usage
  }
}
