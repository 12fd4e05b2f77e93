import type { Tx } from '#core/db/index.ts'
import { defineError } from '#core/errors.ts'

/** What one call of a tool may use. Times are milliseconds, `memoryMb` MiB, `hostCalls` a count. */
interface ToolLimits {
  cpuMs: number
  wallMs: number
  memoryMb: number
  hostCalls: number
}

/** `effect`: `none` may be repeated freely, `undo:<tool>` is taken back by that tool of the same skill. */
export interface PinnedTool {
  description: string
  inputSchema: object
  outputSchema: object
  effect: 'none' | 'irreversible' | `undo:${string}`
  limits: ToolLimits
}

/**
 * One exact, installed skill version as a session holds it: JSON, stored with the session, so that a later uninstall or
 * upgrade changes nothing for it. `alias` is the first half of a tool's address `<alias>.<tool>`; `digest` is
 * `sha256:<hex>` of the archive; `verified` is true when the publisher is verified (the cell may run with JIT).
 */
export interface PinnedSkill {
  alias: string
  skillId: string
  name: string
  version: string
  digest: string
  verified: boolean
  grant: Record<string, unknown>
  tools: Record<string, PinnedTool>
  /** Here only because another skill of the session may call it: no step finds it by its alias. */
  hidden?: true
  /** Whose tools its code may call: the first half of an address in its `permissions.tools` -> `skillId`. */
  calls?: Record<string, string>
}

/** As in a session's config: `@scope/name@range`, or the same with an alias of its own. */
export type SkillRef = string | { ref: string; as?: string | undefined }

export interface ToolCall {
  tenantId: string
  sessionId: string
  skill: PinnedSkill
  tool: string
  input: unknown
  /** Step id and attempt, for the skill's `ctx.session`. */
  step: string
  attempt: number
  /** The same for every attempt of a step. */
  effectKey: string
  /** Milliseconds since 1970: what the skill sees as now. Recorded by the caller, so a replay sees it again. */
  time: number
  /** Seeds Math.random in the skill. */
  seed: string
  /** The step's own limit; the smaller of it and the skill's wallMs holds. */
  timeoutMs?: number
  signal: AbortSignal
  /** Every pinned skill of the session: where `ctx.tools` finds the others. */
  skills: readonly PinnedSkill[]
  /** What the session has left; the smaller of it and the skill's own limit holds. */
  left?: { cpuMs?: number; hostCalls?: number; tokens?: number }
  /** Calls of the tenant that may run at once on a host, by its plan; absent: as many as a host lets anybody. */
  concurrency?: number
  onLog?: (line: { level: string; message: string }) => void
  /** 0 to 1, or undefined where the skill only said a message. */
  onProgress?: (fraction: number | undefined, message: string | undefined) => void
}

/** What one call used, those of other tools that it called included. Exact for killed calls as far as the system tells. */
export interface ToolUsage {
  cpuMs: number
  wallMs: number
  hostCalls: number
  /** Of models, in and out. */
  tokens: number
  /** Sandbox calls: 1, and one for every tool that it called. */
  calls: number
  /** Its process was killed or crashed under it. */
  killed: boolean
}

/**
 * Everything of one call that a replay has to know, beside its host calls (which the provider keeps). JSON; the caller
 * stores it in the same commit as the outcome, and hands all of a session's to `recording`.
 */
export interface CallRecord {
  /** `<effectKey>#<attempt>`, unique in the session. */
  key: string
  step: string
  attempt: number
  effectKey: string
  /** Exact version: `sha256:<hex>` of the archive. */
  digest: string
  skill: string
  version: string
  tool: string
  /** The exact JSON text, or the digest of it in the tenant's object store. */
  input: { text: string } | { ref: string }
  /** Epoch ms and seed, as in the call. */
  time: number
  seed: string
  limits: ToolLimits
  /** Names in ctx. */
  capabilities: string[]
  /** What ctx has beside them: the names of secrets. */
  data?: Record<string, unknown>
  /** Which isolate ran it, and how many calls it had run before: module state follows from them. */
  generation: number
  nth: number
  /** The order in which answers (n) and timers (-id) woke it. */
  wakes: number[]
  hostCalls: number
  /** sha256 hex over the digests of its host calls; null where it made none. */
  hostDigest: string | null
  cpuMs: number
  /** sha256 hex of the exact output text; or what it failed with. `limit`: it was ended from outside, nothing to compare. */
  outcome: { output: string; bytes: number } | { code: string; message: string; limit: boolean }
  /** sha256 hex over all of that and the input's text, but for `cpuMs` and a failure's message. */
  seal: string
}

export interface ToolResult {
  output: unknown
  cpuMs: number
  wallMs: number
  /** Grows by one with each new isolate of the session: journalled, since module state does not outlive an isolate. */
  generation: number
  usage: ToolUsage
  record: CallRecord
}

declare module '#core/ports/ports.ts' {
  interface PortMap {
    tools: ToolsPort
  }
}

/** What a session asks of the room that knows skills. Its provider is skills-registry/tools. */
export interface ToolsPort {
  /**
   * Resolves a session's refs to exact installed versions, inside the caller's tenant transaction.
   * @returns those, in the order of `refs`, and behind them the skills that they may call (`hidden`)
   * @throws SKILLS_REF_INVALID, SKILLS_NOT_INSTALLED, SKILLS_ALIAS_CONFLICT, SKILLS_CAPABILITY_UNAVAILABLE, SKILLS_CALLEE_*,
   *   SKILLS_TOO_MANY: `details.index` is the ref's place in `refs`, `details.errors` has the pointer into the session's config
   */
  resolve(tx: Tx, refs: readonly SkillRef[]): Promise<PinnedSkill[]>
  /**
   * Holds an input to the tool's schema without running it: for inputs that are known when a session is created.
   * @throws ToolError TOOL_UNKNOWN, TOOL_INPUT_INVALID
   */
  check(skill: PinnedSkill, tool: string, input: unknown): void
  /**
   * Runs one tool of a pinned skill in the sandbox; input and output are held to the tool's schemas.
   * @throws ToolError: `retryable` says whether another attempt makes sense
   */
  call(request: ToolCall): Promise<ToolResult>
  /** Frees the session's isolates: it ended, pauses, waits or was passivated. Never throws. */
  endSession(tenantId: string, sessionId: string): void
  /**
   * What `agentos replay` needs of a session's calls: each with its exact input and host calls, and the modules of every
   * skill that they ran. Inside the caller's tenant transaction.
   * @throws TOOLS_RECORDING_TOO_LARGE
   */
  recording(tx: Tx, tenantId: string, sessionId: string, records: readonly CallRecord[]): Promise<Recording>
}

/** One host call as it was made; texts are exact. `landed`: its place in the order of answers, from 1. */
export interface RecordedHostCall {
  n: number
  name: string
  args: string
  ok: boolean
  answer: string
  landed: number
  /** sha256 hex of all that, made when it was recorded. */
  digest: string
}

export interface Recording {
  format: 1
  sessionId: string
  skills: { digest: string; name: string; version: string; entry: string; files: Record<string, string> }[]
  /** In the order in which they were made; a call that a tool made of another tool stands behind its caller. */
  calls: (Omit<CallRecord, 'input'> & { input: string; session: Record<string, unknown>; host: RecordedHostCall[] })[]
}

/**
 * A tool call that did not give a result. Codes: those below, and the sandbox's (`SANDBOX_*`, `RESULT_TOO_LARGE`,
 * `CAPABILITY_DENIED`, `SKILL_ERROR`). Not an HTTP error: it becomes the step's error.
 */
export class ToolError extends Error {
  readonly code: string
  readonly retryable: boolean
  readonly details: Record<string, unknown> | undefined
  /** Absent where the sandbox never ran it. */
  readonly usage: ToolUsage | undefined
  readonly record: CallRecord | undefined

  constructor(
    code: string,
    message: string,
    options: {
      retryable?: boolean
      details?: Record<string, unknown>
      cause?: unknown
      usage?: ToolUsage
      record?: CallRecord
    } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ToolError'
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details
    this.usage = options.usage
    this.record = options.record
  }
}

const at = (index: number, detail: string, more: Record<string, unknown> = {}) => ({
  message: detail,
  details: { index, ...more, errors: [{ pointer: `/skills/${index}`, detail }] }
})

/** Longest recording, bytes of its texts: whoever makes or reads one holds all of it in memory. */
export const MAX_RECORDING_BYTES = 64 * 1024 * 1024

export const RecordingTooLarge = defineError('TOOLS_RECORDING_TOO_LARGE', 413, (bytes: number) => ({
  message: `the recording of this session is longer than ${MAX_RECORDING_BYTES} bytes`,
  details: { bytes, maxBytes: MAX_RECORDING_BYTES }
}))

/** `index` is null where the ref stands alone, as in the body of an install. */
export const SkillRefInvalid = defineError('SKILLS_REF_INVALID', 400, (ref: string, index: number | null) => {
  const detail = `"${ref.slice(0, 200)}" is not a skill reference such as @scope/name@^1`
  return index === null ? { message: detail, details: { errors: [{ pointer: '/ref', detail }] } } : at(index, detail)
})
export const SkillNotInstalled = defineError('SKILLS_NOT_INSTALLED', 422, (ref: string, index: number) =>
  at(index, `no installed skill matches ${ref}: install it with POST /v1/skills`, { ref })
)
export const SkillAliasConflict = defineError('SKILLS_ALIAS_CONFLICT', 422, (alias: string, index: number) =>
  at(index, `two skills of this session are called ${alias}: give one an alias with "as"`, { alias })
)
export const SkillCapabilityUnavailable = defineError(
  'SKILLS_CAPABILITY_UNAVAILABLE',
  422,
  (name: string, capabilities: string[], index: number) =>
    at(index, `${name} needs ${capabilities.join(', ')}, which this server does not offer to skills`, { capabilities })
)
