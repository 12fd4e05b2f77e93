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
}

/** Head of Kind.result and Kind.error. `isolate` is the cell's own number of the isolate. */
export interface Outcome {
  cpuMs: number
  isolate: number
  hostCalls: number
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
  'SANDBOX_CANCELLED'
] as const
