import { compileSchema } from '#core/json-schema.ts'
import { type PinnedSkill, type ToolCall, ToolError, type ToolsPort } from '#core/ports/tools.ts'

/** A tool of the tests: a function of this process instead of a sandboxed skill. */
export interface HostTool {
  readonly input?: object
  readonly effect?: 'none' | 'irreversible' | `undo:${string}`
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
      const output = await tools[request.tool]?.run(request.input as never, request)
      return { output, cpuMs: 1, wallMs: 1, generation: 1 }
    },
    endSession(_tenantId, sessionId) {
      ended.push(sessionId)
    }
  }
}
