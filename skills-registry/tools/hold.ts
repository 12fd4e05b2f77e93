import type { SchemaCheck } from '#core/json-schema.ts'
import { type CallRecord, type PinnedSkill, ToolError, type ToolUsage } from '#core/ports/tools.ts'
import type { LoadedSkill } from '#skills-registry/loader.ts'

/** @throws ToolError TOOL_UNKNOWN */
export function findValidators(loaded: LoadedSkill, skill: PinnedSkill, tool: string) {
  const validators = loaded.validators.get(tool)
  if (!validators) throw unknownTool(skill, tool)
  return validators
}

export function unknownTool(skill: PinnedSkill, tool: string): ToolError {
  const known = Object.keys(skill.tools).join(', ')
  return new ToolError('TOOL_UNKNOWN', `${skill.name} ${skill.version} has no tool ${tool}; it has ${known}`)
}

/** Holds a value to a tool's schema. @throws ToolError with the code, the pointer of the first misfit in it */
export function hold(
  check: SchemaCheck,
  value: unknown,
  code: 'TOOL_INPUT_INVALID' | 'TOOL_OUTPUT_INVALID',
  skill: PinnedSkill,
  tool: string,
  ran: { usage?: ToolUsage; record?: CallRecord } = {}
): void {
  const [violation] = check(value)
  if (!violation) return
  const what = code === 'TOOL_INPUT_INVALID' ? 'input' : 'output'
  const message = `${what} of ${skill.alias}.${tool}${violation.pointer}: ${violation.detail}`
  throw new ToolError(code, message, { details: { errors: [violation], pointer: violation.pointer }, ...ran })
}
