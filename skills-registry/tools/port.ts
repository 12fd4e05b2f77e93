import { compileSchema } from '#core/json-schema.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { ToolsPort } from '#core/ports/tools.ts'
import type { Sandbox } from '#sandbox/index.ts'
import type { SkillLoader } from '#skills-registry/loader.ts'
import { hold, unknownTool } from './hold.ts'
import { readRecording } from './recording.ts'
import type { RunTool } from './run.ts'

export interface PortDeps {
  readonly loader: SkillLoader
  readonly objects: ObjectStore
  readonly sandbox: Sandbox
  readonly resolve: ToolsPort['resolve']
  readonly run: RunTool
}

/** The port `tools`: from a session's refs to a tool's result. */
export function createPort({ loader, objects, sandbox, resolve, run }: PortDeps): ToolsPort {
  return {
    resolve,

    check(skill, tool, input) {
      if (!Object.hasOwn(skill.tools, tool)) throw unknownTool(skill, tool)
      hold(compileSchema(skill.tools[tool]?.inputSchema), input, 'TOOL_INPUT_INVALID', skill, tool)
    },

    async call(request) {
      const { output, usage, record } = await run(request, request.skill, request.tool, request.input ?? {})
      const { cpuMs, wallMs } = usage
      return { output, cpuMs, wallMs, generation: record.generation, usage, record }
    },

    endSession(tenantId, sessionId) {
      sandbox.endSession(tenantId, sessionId)
    },

    recording: (tx, tenantId, sessionId, records) =>
      readRecording({ tx, tenantId, sessionId, records, loader, objects })
  }
}
