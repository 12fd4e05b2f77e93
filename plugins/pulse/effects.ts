import type { Effect, EffectCall, Outcome } from '#core/actors/index.ts'
import { storableText } from '#core/json.ts'
import { SESSION_ERRORS } from './errors.ts'
import { MAX_MESSAGE } from './failures.ts'
import { judge } from './gates.ts'
import { nextGate, type SessionContext, type SessionEvent } from './machine.ts'
import { keep, loadOutputs, type StepRecord } from './outputs.ts'
import { RefsTooLarge, RefUnresolved, resolveRefs } from './refs.ts'
import { outputsFor, runStep, stepEvent } from './run-step.ts'
import { MAX_VALUE_BYTES } from './schema.ts'
import type { EffectDeps } from './tool-run.ts'
import { undoStep } from './undo-step.ts'

type Call = EffectCall<SessionContext>
type SessionEffect = Effect<SessionContext, SessionEvent>

/** What does I/O for the machine. */
export function sessionEffects(deps: EffectDeps): Record<string, SessionEffect> {
  return {
    runStep: { run: (call) => runStep(deps, call), replay: (record) => stepEvent(record as unknown as StepRecord) },
    runGate: { run: (call) => runGate(deps, call), replay: refuseReplay },
    finish: { run: (call) => finish(deps, call), replay: refuseReplay },
    undoStep: { run: (call) => undoStep(deps, call), replay: (record) => record as unknown as SessionEvent }
  }
}

// Gates and the end are pure and never recorded: they are judged again from the same recorded outputs.
function refuseReplay(): never {
  throw new Error('a pure effect has no record')
}

async function runGate(deps: EffectDeps, call: Call): Promise<Outcome<SessionEvent>> {
  const { context } = call
  const gate = nextGate(context)
  if (!gate) throw new Error(`session ${call.ref.id} has no gate to judge`)
  const done = context.plan.config.steps.slice(0, context.step).map((step) => step.id)
  const outputs = await loadOutputs(deps.objects, call.ref.tenantId, call.journal, done)
  const steps = Object.fromEntries([...outputs].map(([id, output]) => [id, { output }]))
  const { input } = context.plan.config
  let output: unknown
  try {
    output = gate.after === 'end' ? resultOf(context, outputs) : outputs.get(gate.after)
  } catch (error) {
    if (!(error instanceof RefUnresolved || error instanceof RefsTooLarge)) throw error
    const reason = storableText(error.message, 1000)
    return { event: { type: 'GATE_FAILED', gate: gate.name, verdict: 'error', reason } }
  }
  const verdict = judge(gate.check, { input, steps, output })
  if (verdict.verdict === 'passed') return { event: { type: 'GATE_PASSED', gate: gate.name } }
  return { event: { type: 'GATE_FAILED', gate: gate.name, verdict: verdict.verdict, reason: verdict.reason } }
}

function resultOf(context: SessionContext, outputs: ReadonlyMap<string, unknown>): unknown {
  const { config } = context.plan
  if (config.output === undefined) return outputs.get(config.steps.at(-1)?.id ?? '') ?? null
  return resolveRefs(config.output, { input: config.input, output: (id) => outputs.get(id) })
}

async function finish(deps: EffectDeps, call: Call): Promise<Outcome<SessionEvent>> {
  const { context, ref } = call
  const last = context.plan.config.steps.at(-1)?.id ?? ''
  const wanted = context.plan.config.output ?? { $ref: `steps.${last}.output` }
  try {
    const result = resultOf(context, await outputsFor(deps, call, wanted))
    const kept = await keep(deps.objects, ref.tenantId, result)
    if (kept.bytes > MAX_VALUE_BYTES) throw new RefsTooLarge(MAX_VALUE_BYTES)
    return { event: { type: 'FINISHED', result: kept.ref === null ? kept.value : null, resultRef: kept.ref } }
  } catch (error) {
    const code = error instanceof RefUnresolved ? SESSION_ERRORS.REF_UNRESOLVED : SESSION_ERRORS.RESULT_TOO_LARGE
    if (!(error instanceof RefUnresolved || error instanceof RefsTooLarge)) throw error
    const message = storableText(`output: ${error.message}`, MAX_MESSAGE)
    return { event: { type: 'FINISH_FAILED', error: { code, message } } }
  }
}
