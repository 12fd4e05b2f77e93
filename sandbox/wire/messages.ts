/** Head of Kind.call. */
export interface CallHead {
  sessionId: string
  digest: string
  export: string
  cpuMs: number
  wallMs: number
  memoryMb: number
  hostCalls: number
  session: { id: string; tenantId: string; step: string; attempt: number; effectKey: string }
  time: number
  seed: string
  capabilities: string[]
  data: Readonly<Record<string, unknown>>
  replay?: Replay
}

/**
 * The order in which answers and timers are to wake the guest up (see HostCallHead). When all are used up, the guest must
 * have come to its end. With `hostCalls` it must have made the one of that n and goes on by the clock: a retry knows the first part.
 */
export interface Replay {
  wakes: readonly number[]
  hostCalls?: number
}

/** Head of Kind.result and Kind.error. `isolate` is the cell's own number of the isolate. */
export interface Outcome {
  cpuMs: number
  isolate: number
  hostCalls: number
  wakes?: number[]
}

/**
 * Head of Kind.hostCall. `wakes`, here and in Outcome: what woke the guest up since the last frame that said so, n for the
 * answer of host call n, -n for the call's n-th timer; left out when nothing did. So the supervisor knows at each host call
 * what led to it, whatever becomes of the cell.
 */
export interface HostCallHead {
  n: number
  name: string
  wakes?: number[]
}

/** More of the head of Kind.error. */
export interface Failure {
  code: string
  message: string
  name?: string
  stack?: string
  limit?: string
  /** The isolate does not answer dispose(): only SIGKILL ends it, the supervisor must act now. */
  stuck?: boolean
}

export interface LoadHead {
  digest: string
  entry: string
}

export const FAILURE_CODES = [
  'SANDBOX_TIMEOUT',
  'SANDBOX_MEMORY',
  'RESULT_TOO_LARGE',
  'SKILL_ERROR',
  'SKILL_RESULT_INVALID',
  'SKILL_LOAD_FAILED',
  'SANDBOX_HOST_CALLS',
  'SANDBOX_CANCELLED',
  'SANDBOX_DIVERGED'
] as const
