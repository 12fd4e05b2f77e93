import { errorMessage } from '#core/errors.ts'
import { compileSchema, type SchemaCheck } from '#core/json-schema.ts'
import {
  type PinnedSkill,
  type PinnedTool,
  SkillAliasConflict,
  SkillCapabilityUnavailable,
  SkillNotInstalled,
  type SkillRef,
  SkillRefInvalid,
  type ToolCall,
  ToolError,
  type ToolResult,
  type ToolsPort
} from '#core/ports/tools.ts'
import { type Sandbox, SandboxError } from '#sandbox/index.ts'
import { capabilitiesOf } from './grant.ts'
import type { LoadedSkill, SkillLoader } from './loader.ts'
import { ALIAS, type Manifest } from './package/manifest.ts'
import { highest, parseRef } from './refs.ts'
import { type InstallRow, installsOf } from './store.ts'

/** The port `tools`: from a session's refs to a tool's result. */
export function createTools({ loader, sandbox }: { loader: SkillLoader; sandbox: Sandbox }): ToolsPort {
  return {
    async resolve(tx, refs) {
      const wanted = refs.map(parseSkillRef)
      const installs = await installsOf(
        tx,
        wanted.map(({ name }) => name)
      )
      const pinned: PinnedSkill[] = []
      for (const [index, { ref, name, range, alias }] of wanted.entries()) {
        const install = highest(
          installs.filter((row) => row.name === name),
          range
        )
        if (!install) throw new SkillNotInstalled(ref, index)
        if (pinned.some((skill) => skill.alias === alias)) throw new SkillAliasConflict(alias, index)
        const needs = capabilitiesOf(install.grant)
        if (needs.length > 0) throw new SkillCapabilityUnavailable(name, needs, index)
        pinned.push(pin(install, alias, (await loader.load(install.digest)).manifest))
      }
      return pinned
    },

    check(skill, tool, input) {
      if (!Object.hasOwn(skill.tools, tool)) throw unknownTool(skill, tool)
      hold(compileSchema(skill.tools[tool]?.inputSchema), input, 'TOOL_INPUT_INVALID', skill, tool)
    },

    async call(request) {
      const { skill, tool } = request
      const loadedSkill = await loadForCall(() => loader.load(skill.digest), skill)
      const validators = loadedSkill.validators.get(tool)
      if (!validators) throw unknownTool(skill, tool)
      const input = request.input ?? {}
      hold(validators.input, input, 'TOOL_INPUT_INVALID', skill, tool)
      const result = await runInSandbox(sandbox, loadedSkill, request, input)
      hold(validators.output, result.output, 'TOOL_OUTPUT_INVALID', skill, tool)
      return result
    },

    endSession(tenantId, sessionId) {
      sandbox.endSession(tenantId, sessionId)
    }
  }
}

function parseSkillRef(given: SkillRef, index: number) {
  const ref = typeof given === 'string' ? given : given.ref
  const parsed = parseRef(ref, index)
  const alias = typeof given === 'string' ? parsed.short : (given.as ?? parsed.short)
  if (!ALIAS.test(alias)) throw new SkillRefInvalid(alias, index)
  return { ...parsed, ref, alias }
}

function pin(install: InstallRow, alias: string, manifest: Manifest): PinnedSkill {
  const tools = Object.entries(manifest.tools).map(([name, tool]): [string, PinnedTool] => [
    name,
    {
      description: tool.description,
      inputSchema: tool.input,
      outputSchema: tool.output,
      effect: tool.effect as PinnedTool['effect'],
      limits: manifest.limits
    }
  ])
  const { id, name, version, digest, verified, grant } = install
  return { alias, skillId: id, name, version, digest, verified, grant, tools: Object.fromEntries(tools) }
}

async function loadForCall(load: () => Promise<LoadedSkill>, skill: PinnedSkill): Promise<LoadedSkill> {
  try {
    return await load()
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    // Missing or unreachable may be back at the next attempt; wrong bytes stay wrong.
    const retryable = code === 'OBJECTS_NOT_FOUND' || !/^(OBJECTS|SKILLS)_/.test(code)
    throw new ToolError('TOOL_PACKAGE_UNAVAILABLE', `the package of ${skill.name} ${skill.version} cannot be read`, {
      retryable,
      details: { reason: code || errorMessage(cause) },
      cause
    })
  }
}

async function runInSandbox(
  sandbox: Sandbox,
  { digest, manifest, sources }: LoadedSkill,
  request: ToolCall,
  input: unknown
): Promise<ToolResult> {
  const { tenantId, sessionId, step, attempt, effectKey, onLog, onProgress } = request
  const wallMs = Math.min(manifest.limits.wallMs, request.timeoutMs ?? Number.POSITIVE_INFINITY)
  try {
    const result = await sandbox.run({
      tenantId,
      sessionId,
      skill: { digest, entry: manifest.entry, files: sources, verified: request.skill.verified },
      export: request.tool,
      input: JSON.stringify(input),
      limits: { ...manifest.limits, wallMs },
      session: { id: sessionId, tenantId, step, attempt, effectKey },
      time: request.time,
      seed: request.seed,
      capabilities: ['log', 'progress'],
      onHostCall: async (_name, args) => {
        const [fraction, message]: unknown[] = JSON.parse(args)
        onProgress?.(toFraction(fraction), typeof message === 'string' ? message.slice(0, 1000) : undefined)
        return 'null'
      },
      onLog: (line) => onLog?.(line),
      signal: request.signal
    })
    return {
      output: JSON.parse(result.output),
      cpuMs: result.cpuMs,
      wallMs: result.wallMs,
      generation: result.generation
    }
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error
    const { code, message, retryable, details } = error
    throw new ToolError(code, message, { retryable, details, cause: error })
  }
}

function toFraction(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : undefined
}

function unknownTool(skill: PinnedSkill, tool: string): ToolError {
  const known = Object.keys(skill.tools).join(', ')
  return new ToolError('TOOL_UNKNOWN', `${skill.name} ${skill.version} has no tool ${tool}; it has ${known}`)
}

function hold(check: SchemaCheck, value: unknown, code: string, skill: PinnedSkill, tool: string): void {
  const [violation] = check(value)
  if (!violation) return
  const what = code === 'TOOL_INPUT_INVALID' ? 'input' : 'output'
  const message = `${what} of ${skill.alias}.${tool}${violation.pointer}: ${violation.detail}`
  throw new ToolError(code, message, { details: { errors: [violation], pointer: violation.pointer } })
}
