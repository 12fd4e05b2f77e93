import { createHash } from 'node:crypto'
import { compileSchema } from '#core/json-schema.ts'
import {
  type CallRecord,
  type PinnedSkill,
  type ToolCall,
  ToolError,
  type ToolsPort,
  type ToolUsage
} from '#core/ports/tools.ts'

/** A tool of the tests: a function of this process instead of a sandboxed skill. */
export interface HostTool {
  readonly input?: object
  readonly effect?: 'none' | 'irreversible' | `undo:${string}`
  /** What a call of it uses; without it 1 ms of CPU and wall time. */
  readonly usage?: Partial<ToolUsage>
  run(input: never, call: ToolCall): unknown
}

export interface HostTools extends ToolsPort {
  /** Every call that was made, in order. */
  readonly calls: ToolCall[]
  readonly ended: string[]
}

/** A tools port made of host functions: one skill `@test/host`, addressed as `host.<tool>`. */
export function hostTools(tools: Readonly<Record<string, HostTool>>): HostTools {
  const skill: PinnedSkill = {
    alias: 'host',
    skillId: '00000000-0000-7000-8000-00000000aaaa',
    name: '@test/host',
    version: '1.0.0',
    digest: `sha256:${'0'.repeat(64)}`,
    verified: true,
    grant: {},
    tools: Object.fromEntries(
      Object.entries(tools).map(([name, tool]) => [
        name,
        {
          description: name,
          inputSchema: tool.input ?? {},
          outputSchema: {},
          effect: tool.effect ?? ('none' as const),
          limits: { cpuMs: 1000, wallMs: 10_000, memoryMb: 64, hostCalls: 100 }
        }
      ])
    )
  }
  const calls: ToolCall[] = []
  const ended: string[] = []
  const check: ToolsPort['check'] = (pinned, tool, input) => {
    const errors = compileSchema(pinned.tools[tool]?.inputSchema)(input)
    if (errors.length > 0) throw new ToolError('TOOL_INPUT_INVALID', 'the input does not fit', { details: { errors } })
  }
  return {
    calls,
    ended,
    resolve: async () => [skill],
    check,
    async call(request) {
      check(request.skill, request.tool, request.input)
      calls.push(request)
      const tool = tools[request.tool]
      const usage = { cpuMs: 1, wallMs: 1, hostCalls: 0, tokens: 0, calls: 1, killed: false, ...tool?.usage }
      try {
        const output = await tool?.run(request.input as never, request)
        const text = JSON.stringify(output) ?? 'null'
        const outcome = { output: createHash('sha256').update(text).digest('hex'), bytes: Buffer.byteLength(text) }
        return { output, cpuMs: 1, wallMs: 1, generation: 1, usage, record: recordOf(request, usage, outcome) }
      } catch (error) {
        if (!(error instanceof ToolError)) throw error
        const { code, message, retryable, details, cause } = error
        const limit = code.startsWith('SANDBOX_')
        const record = recordOf(request, usage, { code, message, limit })
        throw new ToolError(code, message, { retryable, ...(details ? { details } : {}), cause, usage, record })
      }
    },
    recording: async (_tx, tenantId, sessionId, records) => ({
      format: 1,
      sessionId,
      skills: [],
      calls: records.map(({ input, ...record }) => ({
        ...record,
        input: 'text' in input ? input.text : '',
        session: { id: sessionId, tenantId, step: record.step, attempt: record.attempt, effectKey: record.effectKey },
        host: []
      }))
    }),
    endSession(_tenantId, sessionId) {
      ended.push(sessionId)
    }
  }
}

/** The record of a call of a host function, as the real provider makes it of one in the sandbox. */
function recordOf(call: ToolCall, { cpuMs, hostCalls }: ToolUsage, outcome: CallRecord['outcome']): CallRecord {
  const { step, attempt, effectKey, tool, time, seed } = call
  return {
    key: `${effectKey}#${attempt}`,
    step,
    attempt,
    effectKey,
    digest: call.skill.digest,
    skill: call.skill.name,
    version: call.skill.version,
    tool,
    input: { text: JSON.stringify(call.input) },
    time,
    seed,
    limits: { cpuMs: 1000, wallMs: 10_000, memoryMb: 64, hostCalls: 100 },
    capabilities: [],
    generation: 1,
    nth: 0,
    wakes: [],
    hostCalls,
    hostDigest: null,
    cpuMs,
    outcome,
    seal: ''
  }
}
