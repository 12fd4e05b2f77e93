import type { EffectCall, Json, Outcome } from '#core/actors/index.ts'
import { storableText } from '#core/json.ts'
import { SESSION_ERRORS } from './errors.ts'
import { describeFailure, MAX_MESSAGE } from './failures.ts'
import { nextUndo, type SessionContext, type SessionEvent } from './machine.ts'
import { loadOutputs, type StepRecord } from './outputs.ts'
import { findTool } from './plan.ts'
import { resolveRefs } from './refs.ts'
import { outputsFor } from './run-step.ts'
import { type EffectDeps, ToolRun } from './tool-run.ts'

type Undo = Extract<SessionEvent, { type: 'UNDONE' | 'UNDO_FAILED' }>

/** Takes one step's effect back by the tool it declared. What cannot be undone is said, and the next one is tried. */
export async function undoStep(deps: EffectDeps, call: EffectCall<SessionContext>): Promise<Outcome<SessionEvent>> {
  const { context, ref } = call
  const id = nextUndo(context)
  const step = context.plan.config.steps.find((one) => one.id === id)
  const found = step && findTool(context.plan.skills, step.tool)
  if (!id || !step || !found) throw new Error(`session ${ref.id} has nothing to undo`)
  const effect = found.skill.tools[found.tool]?.effect ?? 'none'
  if (effect === 'irreversible') return outcome({ type: 'UNDONE', step: id, undo: 'irreversible' })
  if (effect === 'none') return outcome({ type: 'UNDONE', step: id, undo: 'undone' })
  const effectKey = `${ref.id}/${id}/undo`
  const run = new ToolRun(deps, call, { step: id, undo: true, attempt: 1, effectKey })
  try {
    const { time, seed } = call.journal.get(`step:${id}`) as unknown as StepRecord
    const inputs = await outputsFor(deps, call, step.input)
    const { input: given } = context.plan.config
    const input = resolveRefs(step.input ?? {}, { input: given, output: (other) => inputs.get(other) })
    const outputs = await loadOutputs(deps.objects, ref.tenantId, call.journal, [id])
    const tool = effect.slice('undo:'.length)
    // No budget holds here: a session that used up all it had may still clean up after itself.
    await run.run({ skill: found.skill, tool, input: { input, output: outputs.get(id) }, time, seed })
    const { trace, notes } = await run.end('undone')
    return outcome({ type: 'UNDONE', step: id, undo: 'undone', used: run.used() }, trace, notes)
  } catch (error) {
    if (call.signal.aborted) {
      await run.cutOff()
      throw error
    }
    const used = run.used()
    const { error: failure, stack } = describeFailure(deps.log, error, { sessionId: ref.id, step: id }, context, used)
    run.log.fail(failure.code, stack === undefined ? failure.message : `${failure.message}\n${stack}`)
    const message = storableText(`step ${id} could not be undone: ${failure.code} ${failure.message}`, MAX_MESSAGE)
    const event = { code: SESSION_ERRORS.UNDO_FAILED, message, step: id }
    const { trace, notes } = await run.end('undo_failed')
    return outcome({ type: 'UNDO_FAILED', step: id, error: event, used }, trace, notes)
  }
}

// The event is its own record; its trace is carried by the first commit only.
function outcome(
  event: Undo,
  trace?: Undo['trace'],
  notes: Outcome<SessionEvent>['notes'] = []
): Outcome<SessionEvent> {
  return { event: trace ? { ...event, trace } : event, record: event as unknown as Json, notes }
}
