import type { EffectCall, Json, Outcome } from '#core/actors/index.ts'
import { newId } from '#core/ids.ts'
import { findUnstorable } from '#core/json.ts'
import { ToolError } from '#core/ports/tools.ts'
import { duration, isSpent, leftFor } from './budgets.ts'
import { SESSION_ERRORS } from './errors.ts'
import { describeFailure, StepError } from './failures.ts'
import type { SessionContext, SessionEvent } from './machine.ts'
import { failureRecord, keep, loadOutputs, MAX_OUTPUTS_BYTES, type StepRecord } from './outputs.ts'
import { findTool } from './plan.ts'
import { findRefs, resolveRefs } from './refs.ts'
import { type EffectDeps, ToolRun } from './tool-run.ts'
import type { Used } from './usage.ts'

type Call = EffectCall<SessionContext>

/** Longest wait between two attempts, whatever the backoff grew to. */
const MAX_BACKOFF_MS = 60 * 60_000

/** One attempt of the next step. */
export async function runStep(deps: EffectDeps, call: Call): Promise<Outcome<SessionEvent>> {
  const { context, ref } = call
  const step = context.plan.config.steps[context.step]
  if (!step) throw new Error(`session ${ref.id} has no step ${context.step}`)
  const time = deps.clock.now()
  const seed = `${ref.id}:${step.id}`
  const attempt = context.failures + 1
  const base = { attempts: attempt, startedAt: new Date(time).toISOString(), time, seed, checkpointId: newId() }
  const run = new ToolRun(deps, call, { step: step.id, undo: false, attempt, effectKey: `${ref.id}/${step.id}` })
  const finish = async (fields: Outputs, used: Used): Promise<Outcome<SessionEvent>> => {
    const { trace, notes } = await run.end(fields.status)
    const record = recordOf({ ...base, ...fields }, used, run.generation)
    return { event: { ...stepEvent(record), trace }, record: record as unknown as Json, notes }
  }
  try {
    const allowed = leftFor(context, time, step.timeoutMs)
    if ('spent' in allowed) throw new StepError(allowed.spent.code, allowed.spent.message)
    const outputs = await outputsFor(deps, call, step.input)
    const { input: given } = context.plan.config
    const input = resolveRefs(step.input ?? {}, { input: given, output: (id) => outputs.get(id) })
    const found = findTool(context.plan.skills, step.tool)
    if (!found) throw new ToolError('TOOL_UNKNOWN', `no tool ${step.tool} in this session`)
    const output = await run.run({ ...found, ...allowed, input, time, seed })
    const bad = findUnstorable(output)
    if (bad) throw new StepError(SESSION_ERRORS.OUTPUT_UNSTORABLE, `output ${bad.pointer || '/'} ${bad.detail}`)
    const kept = await keep(deps.objects, ref.tenantId, output)
    if (context.outputBytes + kept.bytes > MAX_OUTPUTS_BYTES) {
      const message = `the outputs of this session are longer than ${MAX_OUTPUTS_BYTES} bytes together`
      throw new StepError(SESSION_ERRORS.OUTPUTS_TOO_LARGE, message)
    }
    const { value, ref: outputRef, bytes: outputBytes } = kept
    return await finish({ status: 'done', output: value, outputRef, outputBytes, error: null }, run.used())
  } catch (error) {
    if (call.signal.aborted) {
      await run.cutOff()
      throw error
    }
    const used = run.used()
    const failure = describeFailure(deps.log, error, { sessionId: ref.id, step: step.id }, context, used)
    const retry = step.retry ?? { attempts: 1, backoffMs: 0 }
    const { code, message } = failure.error
    const told = failure.stack === undefined ? message : `${message}\n${failure.stack}`
    if (failure.retryable && attempt < retry.attempts) {
      const wait = Math.min(retry.backoffMs * 2 ** (attempt - 1), MAX_BACKOFF_MS)
      const activeMs = used.activeMs + wait // the wait is running time too: the session keeps its slot
      if (!isSpent(context, activeMs)) {
        run.log.fail(code, `${told}\nattempt ${attempt} of ${retry.attempts}; the next one in ${wait} ms`)
        const { trace, notes } = await run.end('retried')
        return { event: { type: 'STEP_RETRY', used: { ...used, activeMs }, trace, retryAt: used.at + wait }, notes }
      }
      failure.error = { ...duration(context), step: step.id }
    }
    run.log.fail(code, told)
    const error_ = failureRecord(failure.error)
    return await finish({ status: 'failed', output: null, outputRef: null, outputBytes: 0, error: error_ }, used)
  }
}

type Outputs = Pick<StepRecord, 'status' | 'output' | 'outputRef' | 'outputBytes' | 'error'>
type Base = Pick<StepRecord, 'attempts' | 'startedAt' | 'time' | 'seed' | 'checkpointId'>

function recordOf(fields: Base & Outputs, { at, ...used }: Used, generation: number): StepRecord {
  return { ...fields, endedAt: new Date(at).toISOString(), ...used, generation }
}

/** The machine's event for a recorded outcome. */
export function stepEvent(record: StepRecord): Extract<SessionEvent, { type: 'STEP_DONE' | 'STEP_FAILED' }> {
  const { activeMs, cpuMs, hostCalls = 0, tokens = 0, endedAt, checkpointId, outputBytes } = record
  const used = { activeMs, cpuMs, hostCalls, tokens, at: Date.parse(endedAt) }
  if (record.status === 'done') return { type: 'STEP_DONE', used, checkpointId, outputBytes }
  return { type: 'STEP_FAILED', used, error: record.error ?? { code: SESSION_ERRORS.INTERNAL, message: 'no reason' } }
}

/** The outputs that a value refers to. */
export async function outputsFor(
  deps: Pick<EffectDeps, 'objects'>,
  call: Call,
  value: unknown
): Promise<Map<string, unknown>> {
  const steps = new Set(findRefs(value, '').refs.flatMap((ref) => (ref.step === null ? [] : [ref.step])))
  return await loadOutputs(deps.objects, call.ref.tenantId, call.journal, steps)
}
