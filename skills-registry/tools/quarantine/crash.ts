import type { SandboxError } from '#sandbox/index.ts'

/** So many crashes of one version within the window stop it. */
export const MAX_CRASHES = 3
export const WINDOW_MINUTES = 10

/** A call whose own fault ended its cell. `reason` is the sandbox's word for it. */
export interface Crash {
  sessionId: string
  step: string
  code: string
  reason: string
}

/** Why a cell ended that no skill has done: it never began, or the call did not come out as it was recorded. */
const NOT_ITS_FAULT = new Set(['start', 'diverged'])

/**
 * Whether a failed call counts as a crash of its skill: the supervisor killed or lost the cell and blames this call
 * (sandbox/supervisor/verdict.ts). That is SANDBOX_KILLED or SANDBOX_MEMORY with the `reason` of a death, and not
 * retryable. What does not count: the innocent calls of a killed cell and a SIGKILL from the system (both retryable), an
 * isolate that was disposed of while its cell lived on (SANDBOX_TIMEOUT, and SANDBOX_MEMORY without a `reason`), a
 * cancelled call, and errors of the skill's own.
 */
export function crashReason({ code, retryable, details }: Pick<SandboxError, 'code' | 'retryable' | 'details'>) {
  if (code !== 'SANDBOX_KILLED' && code !== 'SANDBOX_MEMORY') return undefined
  const { reason } = details
  return retryable || typeof reason !== 'string' || NOT_ITS_FAULT.has(reason) ? undefined : reason
}

/** What the tenant reads: which crashes, when, and what to do. */
export function explain(skill: string, version: string, crashes: readonly (Crash & { at: string })[]): string {
  const each = crashes.map(({ at, sessionId, step, code, reason }) => {
    return `${at} ${code} (${reason}) in step ${step} of session ${sessionId}`
  })
  return (
    `${skill} ${version} is stopped for this tenant: ${crashes.length} calls within ${WINDOW_MINUTES} minutes ended the process ` +
    `that ran them: ${each.join('; ')}. Correct it, publish a new version and install that one (other versions are not ` +
    'affected), or ask the operator of this server to lift the quarantine'
  )
}
