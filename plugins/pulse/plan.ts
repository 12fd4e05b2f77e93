import type { Tx } from '#core/db/index.ts'
import { AppError } from '#core/errors.ts'
import { findUnstorable } from '#core/json.ts'
import { type PinnedSkill, ToolError, type ToolsPort } from '#core/ports/tools.ts'
import { CONFIG_ERRORS, type ConfigErrorCode, type ConfigProblem } from './errors.ts'
import { GateRefused, readCheck } from './gates.ts'
import type { SessionPlan } from './machine.ts'
import { findRefs, type PlacedRef, RefsTooLarge, RefUnresolved, resolveRefs } from './refs.ts'
import type { SessionConfig } from './schema.ts'

/**
 * Makes a runnable plan of a config: skills pinned to exact versions, every reference, tool, gate and (where it is
 * known already) tool input checked. All problems are found before one is thrown.
 * @param planMinutes the tenant plan's longest session, null = unlimited
 * @throws PULSE_* (422) with `errors: [{pointer, detail, code}]`, SKILLS_* of the tools port
 */
export async function makePlan(
  tx: Tx,
  tools: ToolsPort,
  config: SessionConfig,
  planMinutes: number | null
): Promise<SessionPlan> {
  throwProblems(unstorable(config))
  throwProblems([...checkIds(config), ...checkRefs(config), ...checkGates(config), ...checkLimits(config)])
  const skills = await tools.resolve(tx, config.skills)
  throwProblems(checkTools(tools, config, skills))
  const minutes = planMinutes === null ? null : planMinutes * 60_000
  const limits = [config.limits.durationMs ?? null, minutes].filter((limit) => limit !== null)
  return { config, skills, durationMs: limits.length > 0 ? Math.min(...limits) : null }
}

/** The pinned skill and tool that a step's `<alias>.<tool>` names; none of those that only other skills may call. */
export function findTool(skills: readonly PinnedSkill[], address: string): { skill: PinnedSkill; tool: string } | null {
  const dot = address.indexOf('.')
  const alias = address.slice(0, dot)
  const tool = address.slice(dot + 1)
  const skill = skills.find((one) => one.alias === alias && !one.hidden)
  return skill && Object.hasOwn(skill.tools, tool) ? { skill, tool } : null
}

function throwProblems(problems: readonly ConfigProblem[]): void {
  const [first] = problems
  if (!first) return
  throw new CONFIG_ERRORS[first.code as ConfigErrorCode](problems)
}

function unstorable(config: SessionConfig): ConfigProblem[] {
  const found = findUnstorable(config)
  return found ? [{ ...found, code: 'PULSE_INPUT_UNSTORABLE' }] : []
}

function checkIds(config: SessionConfig): ConfigProblem[] {
  const twice = (list: readonly string[], pointer: (index: number) => string, what: string) =>
    list.flatMap((id, index) =>
      list.indexOf(id) < index
        ? [{ pointer: pointer(index), detail: `another ${what} is called ${id}`, code: 'PULSE_STEP_INVALID' }]
        : []
    )
  return [
    ...twice(
      config.steps.map((step) => step.id),
      (index) => `/steps/${index}/id`,
      'step'
    ),
    ...twice(
      config.gates.map((gate) => gate.name),
      (index) => `/gates/${index}/name`,
      'gate'
    )
  ]
}

function checkRefs(config: SessionConfig): ConfigProblem[] {
  const order = new Map(config.steps.map((step, index) => [step.id, index]))
  const graph = new Map(config.steps.map((step) => [step.id, refsOf(step.input, '').refs]))
  const known = (ref: PlacedRef, index: number): ConfigProblem[] => {
    if (ref.step === null) return []
    const target = order.get(ref.step)
    if (target === undefined) {
      return [{ pointer: ref.pointer, detail: `there is no step ${ref.step}`, code: 'PULSE_REF_UNKNOWN' }]
    }
    if (target < index) return []
    const cycle = findCycle(graph, ref.step, config.steps[index]?.id ?? '')
    const detail = cycle
      ? `steps refer to each other in a circle: ${cycle.join(' -> ')}`
      : `step ${ref.step} runs later; only earlier steps can be referred to`
    return [{ pointer: ref.pointer, detail, code: 'PULSE_REF_CYCLE' }]
  }
  const steps = config.steps.flatMap((step, index) => {
    const { refs, problems } = refsOf(step.input, `/steps/${index}/input`)
    return [...problems, ...refs.flatMap((ref) => known(ref, index))]
  })
  const { refs, problems } = refsOf(config.output, '/output')
  return [...steps, ...problems, ...refs.flatMap((ref) => known(ref, config.steps.length))]
}

const refsOf = (value: unknown, pointer: string) => findRefs(value, pointer)

// A way from `from` back to `goal` along references; [goal, ..., goal] when there is one.
function findCycle(graph: ReadonlyMap<string, PlacedRef[]>, from: string, goal: string): string[] | null {
  const seen = new Set<string>()
  const walk = (id: string, path: string[]): string[] | null => {
    if (id === goal) return [...path, id]
    if (seen.has(id)) return null
    seen.add(id)
    for (const ref of graph.get(id) ?? []) {
      const found = ref.step === null ? null : walk(ref.step, [...path, id])
      if (found) return found
    }
    return null
  }
  return walk(from, [goal])
}

function checkGates(config: SessionConfig): ConfigProblem[] {
  const ids = new Set(config.steps.map((step) => step.id))
  return config.gates.flatMap((gate, index) => {
    const problems: ConfigProblem[] = []
    if (gate.after !== 'end' && !ids.has(gate.after)) {
      const detail = `there is no step ${gate.after}; name one, or "end"`
      problems.push({ pointer: `/gates/${index}/after`, detail, code: 'PULSE_GATE_INVALID' })
    }
    try {
      readCheck(gate.check)
    } catch (error) {
      if (!(error instanceof GateRefused)) throw error
      const pointer = `/gates/${index}/check/${gate.check.kind}`
      problems.push({ pointer, detail: error.message, code: 'PULSE_GATE_INVALID' })
    }
    return problems
  })
}

function checkLimits(config: SessionConfig): ConfigProblem[] {
  const most = config.limits.steps
  if (most === undefined || config.steps.length <= most) return []
  const detail = `${config.steps.length} steps, and the session's own limit is ${most}`
  return [{ pointer: '/limits/steps', detail, code: 'PULSE_LIMIT_EXCEEDED' }]
}

function checkTools(tools: ToolsPort, config: SessionConfig, skills: readonly PinnedSkill[]): ConfigProblem[] {
  return config.steps.flatMap((step, index): ConfigProblem[] => {
    const found = findTool(skills, step.tool)
    if (!found) {
      const offered = skills.filter(({ hidden }) => !hidden)
      const known = offered.flatMap((skill) => Object.keys(skill.tools).map((tool) => `${skill.alias}.${tool}`))
      const offer =
        known.length > 0 ? `the session's skills offer ${known.slice(0, 10).join(', ')}` : 'the session names no skill'
      const detail = `no tool ${step.tool}: ${offer}`
      return [{ pointer: `/steps/${index}/tool`, detail, code: 'PULSE_TOOL_UNKNOWN' }]
    }
    // An input that refers to no step is known now: a mistake in it shows now.
    if (refsOf(step.input, '').refs.some((ref) => ref.step !== null)) return []
    try {
      const input = resolveRefs(step.input ?? {}, { input: config.input, output: () => undefined })
      tools.check(found.skill, found.tool, input)
      return []
    } catch (error) {
      return inputProblems(error, `/steps/${index}/input`)
    }
  })
}

function inputProblems(error: unknown, pointer: string): ConfigProblem[] {
  if (error instanceof RefUnresolved) return [{ pointer, detail: error.message, code: 'PULSE_REF_UNKNOWN' }]
  if (error instanceof RefsTooLarge) return [{ pointer, detail: error.message, code: 'PULSE_TOOL_INPUT_INVALID' }]
  if (!(error instanceof ToolError) && !(error instanceof AppError)) throw error
  const errors = error.details?.errors
  if (!Array.isArray(errors)) return [{ pointer, detail: error.message, code: 'PULSE_TOOL_INPUT_INVALID' }]
  return errors.map((one: { pointer: string; detail: string }) => ({
    pointer: `${pointer}${one.pointer}`,
    detail: one.detail,
    code: 'PULSE_TOOL_INPUT_INVALID'
  }))
}
