import type { Effect, EffectCall, Json, Outcome } from '#core/actors/index.ts'
import type { Clock } from '#core/clock.ts'
import { AppError } from '#core/errors.ts'
import { newId } from '#core/ids.ts'
import { findUnstorable, storableText } from '#core/json.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { Ports } from '#core/ports/ports.ts'
import { ToolError } from '#core/ports/tools.ts'
import { SESSION_ERRORS } from './errors.ts'
import { judge } from './gates.ts'
import { nextGate, nextUndo, type SessionContext, type SessionEvent, type SessionFailure } from './machine.ts'
import { failureRecord, keep, loadOutputs, MAX_OUTPUTS_BYTES, type StepRecord } from './outputs.ts'
import { findTool } from './plan.ts'
import { findRefs, RefsTooLarge, RefUnresolved, resolveRefs } from './refs.ts'
import { MAX_VALUE_BYTES } from './schema.ts'

export interface EffectDeps {
  readonly ports: Ports
  readonly objects: ObjectStore
  readonly clock: Clock
  readonly log: { error(fields: object, message: string): void }
}

type Call = EffectCall<SessionContext>
type SessionEffect = Effect<SessionContext, SessionEvent>

/** Longest wait between two attempts, whatever the backoff grew to. */
const MAX_BACKOFF_MS = 60 * 60_000
/** Longest message of a failure, in characters. Each may be six bytes of JSON, and the event holds 16 KiB. */
const MAX_MESSAGE = 2000

/** The only file of the room that does I/O for the machine. */
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

async function runStep(deps: EffectDeps, call: Call): Promise<Outcome<SessionEvent>> {
  const { clock, ports } = deps
  const { context, ref } = call
  const step = context.plan.config.steps[context.step]
  if (!step) throw new Error(`session ${ref.id} has no step ${context.step}`)
  const time = clock.now()
  const started = clock.monotonic()
  const seed = `${ref.id}:${step.id}`
  const attempt = context.failures + 1
  const base = { attempts: attempt, startedAt: new Date(time).toISOString(), time, seed, checkpointId: newId() }
  try {
    const timeoutMs = timeLeft(context, clock.now(), step.timeoutMs)
    const outputs = await outputsFor(deps, call, step.input)
    const input = resolveRefs(step.input ?? {}, {
      input: context.plan.config.input,
      output: (id) => outputs.get(id)
    })
    const found = findTool(context.plan.skills, step.tool)
    if (!found) throw new ToolError('TOOL_UNKNOWN', `no tool ${step.tool} in this session`)
    const result = await ports.get('tools').call({
      tenantId: ref.tenantId,
      sessionId: ref.id,
      skill: found.skill,
      tool: found.tool,
      input,
      step: step.id,
      attempt,
      effectKey: `${ref.id}/${step.id}`,
      time,
      seed,
      ...(timeoutMs === null ? {} : { timeoutMs: timeoutMs.ms }),
      signal: call.signal
    })
    const bad = findUnstorable(result.output)
    if (bad) throw new StepError(SESSION_ERRORS.OUTPUT_UNSTORABLE, `output ${bad.pointer || '/'} ${bad.detail}`)
    const kept = await keep(deps.objects, ref.tenantId, result.output)
    if (context.outputBytes + kept.bytes > MAX_OUTPUTS_BYTES) {
      const message = `the outputs of this session are longer than ${MAX_OUTPUTS_BYTES} bytes together`
      throw new StepError(SESSION_ERRORS.OUTPUTS_TOO_LARGE, message)
    }
    const record: StepRecord = {
      ...base,
      status: 'done',
      output: kept.value,
      outputRef: kept.ref,
      outputBytes: kept.bytes,
      error: null,
      endedAt: new Date(clock.now()).toISOString(),
      activeMs: Math.round(clock.monotonic() - started),
      cpuMs: result.cpuMs,
      generation: result.generation
    }
    return { event: stepEvent(record), record: record as unknown as Json }
  } catch (error) {
    if (call.signal.aborted) throw error
    const used = { activeMs: Math.round(clock.monotonic() - started), cpuMs: 0, at: clock.now() }
    const failure = describe(deps, error, { sessionId: ref.id, step: step.id }, context, used)
    const retry = step.retry ?? { attempts: 1, backoffMs: 0 }
    if (failure.retryable && attempt < retry.attempts) {
      const wait = Math.min(retry.backoffMs * 2 ** (attempt - 1), MAX_BACKOFF_MS)
      const activeMs = used.activeMs + wait // the wait is running time too: the session keeps its slot
      if (!isSpent(context, activeMs)) {
        return { event: { type: 'STEP_RETRY', used: { ...used, activeMs }, retryAt: used.at + wait } }
      }
      failure.error = { code: SESSION_ERRORS.DURATION, message: durationText(context), step: step.id }
    }
    const record: StepRecord = {
      ...base,
      status: 'failed',
      output: null,
      outputRef: null,
      outputBytes: 0,
      error: failureRecord(failure.error),
      endedAt: new Date(clock.now()).toISOString(),
      ...used,
      generation: 0
    }
    return { event: stepEvent(record), record: record as unknown as Json }
  }
}

function stepEvent(record: StepRecord): SessionEvent {
  const used = { activeMs: record.activeMs, cpuMs: record.cpuMs, at: Date.parse(record.endedAt) }
  if (record.status === 'done')
    return { type: 'STEP_DONE', used, checkpointId: record.checkpointId, outputBytes: record.outputBytes }
  return { type: 'STEP_FAILED', used, error: record.error ?? { code: SESSION_ERRORS.INTERNAL, message: 'no reason' } }
}

/** A step's own failure; never worth another attempt. */
class StepError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/**
 * The smallest of the step's, the session's and the deadline's remaining time, and which of them it is.
 * @throws StepError where there is none left
 */
function timeLeft(context: SessionContext, now: number, stepMs: number | undefined): { ms: number } | null {
  const { durationMs, config } = context.plan
  const left: number[] = stepMs === undefined ? [] : [stepMs]
  if (durationMs !== null) {
    const ms = durationMs - context.activeMs
    if (ms <= 0) throw new StepError(SESSION_ERRORS.DURATION, durationText(context))
    left.push(ms)
  }
  if (config.deadline !== undefined) {
    const ms = Date.parse(config.deadline) - now
    if (ms <= 0) throw new StepError(SESSION_ERRORS.DEADLINE, `the deadline ${config.deadline} has passed`)
    left.push(ms)
  }
  return left.length > 0 ? { ms: Math.min(...left) } : null
}

function describe(
  deps: EffectDeps,
  error: unknown,
  { sessionId, step }: { sessionId: string; step: string },
  context: SessionContext,
  used: { activeMs: number; at: number }
): { error: SessionFailure; retryable: boolean } {
  const message = storableText(error instanceof Error ? error.message : String(error), MAX_MESSAGE)
  if (error instanceof StepError) return { error: { code: error.code, message, step }, retryable: false }
  if (error instanceof RefUnresolved) {
    return { error: { code: SESSION_ERRORS.REF_UNRESOLVED, message, step }, retryable: false }
  }
  if (error instanceof RefsTooLarge) {
    return { error: { code: SESSION_ERRORS.INPUT_TOO_LARGE, message, step }, retryable: false }
  }
  if (error instanceof ToolError) {
    // The step's own timeout may be tried again; the session's time is over for good.
    const spent = error.code === 'SANDBOX_TIMEOUT' ? outOfTime(context, used) : null
    return { error: { code: error.code, message, step, ...spent }, retryable: spent === null && error.retryable }
  }
  if (error instanceof AppError && error.status < 500) {
    return { error: { code: error.code, message, step }, retryable: false }
  }
  // Ours, not the skill's: the client gets no inside story, the operator does.
  deps.log.error({ err: error, sessionId }, 'a step broke')
  return { error: { code: SESSION_ERRORS.INTERNAL, message: 'the step could not be run', step }, retryable: true }
}

function outOfTime(
  context: SessionContext,
  used: { activeMs: number; at: number }
): { code: string; message: string } | null {
  const { deadline } = context.plan.config
  if (deadline !== undefined && used.at >= Date.parse(deadline)) {
    return { code: SESSION_ERRORS.DEADLINE, message: `the deadline ${deadline} has passed` }
  }
  return isSpent(context, used.activeMs) ? { code: SESSION_ERRORS.DURATION, message: durationText(context) } : null
}

/** Whether `activeMs` more would use up the session's running time. */
function isSpent(context: SessionContext, activeMs: number): boolean {
  const { durationMs } = context.plan
  return durationMs !== null && context.activeMs + activeMs >= durationMs
}

const durationText = (context: SessionContext) =>
  `the session used up its ${context.plan.durationMs} ms of running time`

async function outputsFor(deps: EffectDeps, call: Call, value: unknown): Promise<Map<string, unknown>> {
  const steps = new Set(findRefs(value, '').refs.flatMap((ref) => (ref.step === null ? [] : [ref.step])))
  return await loadOutputs(deps.objects, call.ref.tenantId, call.journal, steps)
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

/** Takes one step's effect back by the tool it declared. What cannot be undone is said, and the next one is tried. */
async function undoStep(deps: EffectDeps, call: Call): Promise<Outcome<SessionEvent>> {
  const { context, ref } = call
  const id = nextUndo(context)
  const step = context.plan.config.steps.find((one) => one.id === id)
  const found = step && findTool(context.plan.skills, step.tool)
  if (!id || !step || !found) throw new Error(`session ${ref.id} has nothing to undo`)
  const effect = found.skill.tools[found.tool]?.effect ?? 'none'
  const done = (undo: 'undone' | 'irreversible'): Outcome<SessionEvent> => {
    const event: SessionEvent = { type: 'UNDONE', step: id, undo }
    return { event, record: event as unknown as Json }
  }
  if (effect === 'irreversible') return done('irreversible')
  if (effect === 'none') return done('undone')
  try {
    const record = call.journal.get(`step:${id}`) as unknown as StepRecord
    const inputs = await outputsFor(deps, call, step.input)
    const input = resolveRefs(step.input ?? {}, {
      input: context.plan.config.input,
      output: (other) => inputs.get(other)
    })
    const outputs = await loadOutputs(deps.objects, ref.tenantId, call.journal, [id])
    await deps.ports.get('tools').call({
      tenantId: ref.tenantId,
      sessionId: ref.id,
      skill: found.skill,
      tool: effect.slice('undo:'.length),
      input: { input, output: outputs.get(id) },
      step: id,
      attempt: 1,
      effectKey: `${ref.id}/${id}/undo`,
      time: record.time,
      seed: record.seed,
      signal: call.signal
    })
    return done('undone')
  } catch (error) {
    if (call.signal.aborted) throw error
    const { error: failure } = describe(deps, error, { sessionId: ref.id, step: id }, context, {
      activeMs: 0,
      at: deps.clock.now()
    })
    const message = storableText(`step ${id} could not be undone: ${failure.code} ${failure.message}`, MAX_MESSAGE)
    const event: SessionEvent = {
      type: 'UNDO_FAILED',
      step: id,
      error: { code: SESSION_ERRORS.UNDO_FAILED, message, step: id }
    }
    return { event, record: event as unknown as Json }
  }
}
