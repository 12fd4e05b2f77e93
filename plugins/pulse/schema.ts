import { z } from 'zod'
import { Timestamp } from '#core/http/time.ts'
import { LOG_LEVELS, LOG_MAX } from './log.ts'

/** Largest input, tool result or session result as JSON text (docs/spec/wire.md). */
export const MAX_VALUE_BYTES = 1024 * 1024

const MINUTE_MS = 60_000
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS
export const DEFAULT_PAUSE_MS = 30 * 24 * 60 * MINUTE_MS
const name = z.string().min(1).max(200)

/** Steps and gates are named in references and expressions, so their ids are identifiers. */
export const Identifier = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, 'must be a letter followed by at most 63 letters, digits, _ or -')

export const Retry = z.strictObject({
  attempts: z.int().min(1).max(20).default(1).describe('tries in all, the first included'),
  backoffMs: z
    .int()
    .min(0)
    .max(60 * MINUTE_MS)
    .default(1000)
    .describe('wait before the second try; doubles with each further one')
})

export const ToolStep = z.strictObject({
  id: Identifier,
  kind: z.literal('tool', 'step kinds of this version: tool'),
  tool: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]*\.[A-Za-z_][A-Za-z0-9_-]*$/, 'must be <skill name without scope>.<tool>')
    .max(200),
  input: z.unknown().optional().describe('JSON; {"$ref": "input.x"} and {"$ref": "steps.<id>.output.x"} are replaced'),
  retry: Retry.optional(),
  timeoutMs: z
    .int()
    .min(1)
    .max(24 * 60 * MINUTE_MS)
    .optional()
})

export const Gate = z.strictObject({
  name: Identifier,
  after: z.string().min(1).max(64).default('end').describe('id of a step, or "end"'),
  check: z.discriminatedUnion(
    'kind',
    [
      z.strictObject({ kind: z.literal('expression'), expression: z.string().min(1).max(4096) }),
      z.strictObject({ kind: z.literal('schema'), schema: z.record(z.string(), z.unknown()) })
    ],
    'gate kinds of this version: expression, schema'
  ),
  onFail: z.enum(['fail', 'pause', 'rollback'], 'one of fail, pause, rollback in this version').default('fail')
})

export const Limits = z.strictObject({
  durationMs: z.int().min(1).max(YEAR_MS).optional().describe('running time, pauses and queueing not counted'),
  steps: z.int().min(1).max(1000).optional(),
  tokens: z.int().min(0).optional().describe('of models, in and out, in all'),
  cpuMs: z.int().min(1).optional().describe('CPU time of all tool calls together'),
  hostCalls: z.int().min(0).optional().describe('host calls of all tool calls together'),
  logBytes: z.int().min(0).max(LOG_MAX.bytes).optional().describe('length of the log; what comes after is not kept'),
  microUsd: z
    .string()
    .regex(/^\d{1,18}$/, 'must be a decimal string of 1e-6 USD')
    .optional(),
  pauseMs: z.int().min(1).max(YEAR_MS).optional().describe('longest pause; default 30 days')
})

export const PRIORITIES = ['low', 'normal', 'high', 'critical'] as const

/** The body of POST /v1/sessions (docs/spec/wire.md). */
export const SessionConfig = z.strictObject({
  name: name.optional(),
  agent: name.optional(),
  skills: z
    .array(
      z.union([
        z.string().min(1).max(300),
        z.strictObject({ ref: z.string().min(1).max(300), as: z.string().max(64).optional() })
      ])
    )
    .max(32)
    .default([]),
  input: z.record(z.string(), z.unknown()).default({}),
  steps: z.array(ToolStep).min(1).max(1000),
  gates: z.array(Gate).max(100).default([]),
  output: z.unknown().optional().describe('JSON with references; default: the output of the last step'),
  checkpoints: z.strictObject({ every: z.enum(['step', 'end']).default('step') }).default({ every: 'step' }),
  limits: Limits.default({}),
  priority: z.enum(PRIORITIES).default('normal'),
  deadline: Timestamp.optional(),
  start: z.enum(['queued', 'manual']).default('queued')
})
export type SessionConfig = z.output<typeof SessionConfig>

export const STATES = [
  'CREATED',
  'QUEUED',
  'RUNNING',
  'CHECKPOINT',
  'GATE_CHECK',
  'PAUSED',
  'COMPLETE',
  'FAILED',
  'ROLLBACK',
  'ROLLED_BACK'
] as const
export const SessionState = z.enum(STATES)
export type SessionState = z.output<typeof SessionState>

const time = z.iso.datetime().nullable()
const failure = z.object({ code: z.string(), message: z.string(), step: z.string().optional() })

const StepView = z.object({
  id: z.string(),
  kind: z.string(),
  state: z.enum(['pending', 'running', 'waiting', 'done', 'failed', 'skipped', 'undone', 'undo_failed']),
  attempt: z.int(),
  startedAt: time,
  endedAt: time,
  output: z.unknown(),
  error: failure.nullable(),
  costMicroUsd: z.string()
})

/** `GET /v1/sessions/{id}` (docs/spec/wire.md). */
export const SessionView = z.object({
  id: z.uuid(),
  tenantId: z.uuid(),
  name: z.string().nullable(),
  agent: z.string().nullable(),
  state: SessionState,
  pct: z.int(),
  createdAt: z.iso.datetime(),
  startedAt: time,
  endedAt: time,
  deadline: time,
  epoch: z.int(),
  resumeQueued: z.boolean().describe('paused, resumed, and waiting for a slot'),
  config: z.record(z.string(), z.unknown()),
  skills: z.array(z.object({ alias: z.string(), name: z.string(), version: z.string(), digest: z.string() })),
  steps: z.array(StepView),
  checkpoints: z.array(
    z.object({ id: z.uuid(), name: z.string().nullable(), step: z.string(), createdAt: z.iso.datetime() })
  ),
  gates: z.array(
    z.object({
      name: z.string(),
      verdict: z.enum(['pending', 'passed', 'failed', 'error']),
      reason: z.string().nullable()
    })
  ),
  transitions: z.array(
    z.object({
      from: z.string(),
      to: z.string(),
      cause: z.string(),
      by: z.string(),
      at: z.iso.datetime(),
      epoch: z.int()
    })
  ),
  result: z.unknown(),
  error: failure.nullable(),
  cost: z.object({
    microUsd: z.string(),
    tokens: z.int(),
    computeMs: z.int().describe('running time, which is what compute is paid by'),
    cpuMs: z.number().describe('CPU time of its tool calls, to the microsecond'),
    hostCalls: z.int()
  })
})
export type SessionView = z.output<typeof SessionView>

/** One row of `GET /v1/sessions/{id}/logs`. */
export const LogLineView = z.object({
  id: z.uuid(),
  step: z.string(),
  undo: z.boolean().describe('said by the tool that took the step back'),
  attempt: z.int(),
  level: z.enum(LOG_LEVELS),
  message: z.string(),
  at: z.iso.datetime()
})

const callOutcome = z.union([
  z.object({ output: z.string().describe('sha256 of the exact text'), bytes: z.int() }),
  z.object({ code: z.string(), message: z.string(), limit: z.boolean() })
])

/** `GET /v1/sessions/{id}/recording`: core/ports/tools.ts, Recording. */
export const RecordingView = z.object({
  format: z.literal(1),
  sessionId: z.uuid(),
  complete: z.boolean().describe('false while the session may still run: calls will follow'),
  skills: z.array(
    z.object({
      digest: z.string(),
      name: z.string(),
      version: z.string(),
      entry: z.string(),
      files: z.record(z.string(), z.string())
    })
  ),
  calls: z.array(
    z.object({
      key: z.string(),
      step: z.string(),
      attempt: z.int(),
      effectKey: z.string(),
      digest: z.string(),
      skill: z.string(),
      version: z.string(),
      tool: z.string(),
      input: z.string().describe('the exact JSON text'),
      session: z.record(z.string(), z.unknown()).describe('ctx.session'),
      data: z.record(z.string(), z.unknown()).optional().describe('what ctx has beside the capabilities'),
      time: z.number(),
      seed: z.string(),
      limits: z.object({ cpuMs: z.number(), wallMs: z.number(), memoryMb: z.number(), hostCalls: z.number() }),
      capabilities: z.array(z.string()),
      generation: z.int(),
      nth: z.int(),
      wakes: z.array(z.int()),
      hostCalls: z.int(),
      hostDigest: z.string().nullable(),
      cpuMs: z.number(),
      outcome: callOutcome,
      seal: z.string().describe('sha256 over the record, see agentos replay'),
      host: z.array(
        z.object({
          n: z.int(),
          name: z.string(),
          args: z.string(),
          ok: z.boolean(),
          answer: z.string(),
          landed: z.int(),
          digest: z.string()
        })
      )
    })
  )
})

/** One row of `GET /v1/sessions`. */
export const SessionListItem = SessionView.pick({
  id: true,
  name: true,
  agent: true,
  state: true,
  pct: true,
  createdAt: true,
  startedAt: true,
  endedAt: true,
  error: true
})
export type SessionListItem = z.output<typeof SessionListItem>
