import { hash } from 'node:crypto'
import type { Db, TenantContext } from '#core/db/index.ts'
import { errorMessage } from '#core/errors.ts'
import { storableText } from '#core/json.ts'
import { must } from '#core/must.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { type CallRecord, type PinnedSkill, type ToolCall, ToolError, type ToolUsage } from '#core/ports/tools.ts'
import { type Sandbox, type SandboxCall, SandboxError, type SandboxUsage } from '#sandbox/index.ts'
import type { LoadedSkill, SkillLoader } from '#skills-registry/loader.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { CallBudget } from './budget.ts'
import { guestData } from './capabilities/secrets.ts'
import type { Capability, Method } from './capability.ts'
import { findValidators, hold } from './hold.ts'
import { type Caller, HostCalls } from './host-calls.ts'
import { namesFor } from './permissions.ts'
import type { Quarantine } from './quarantine/quarantine.ts'
import { sealOf, sessionOf } from './seal.ts'

/** An input longer than this, in characters of JSON, is kept in the object store and not in the call's record. */
const INLINE_CHARS = 16 * 1024
/** Of an error's message in a record; the sandbox gives 16 KiB at most. */
const MAX_MESSAGE = 16 * 1024
/** What always hangs on ctx; neither is journaled. */
const FREE = new Set(['log', 'progress'])
/** The sandbox ended the call, not its own code: there is nothing that a replay could compare. */
const LIMITS = new Set([
  'SANDBOX_TIMEOUT',
  'SANDBOX_MEMORY',
  'SANDBOX_KILLED',
  'SANDBOX_CANCELLED',
  'SANDBOX_CLOSED',
  'SANDBOX_BUSY'
])

export interface RunDeps {
  readonly db: Db
  readonly sandbox: Sandbox
  readonly loader: SkillLoader
  readonly objects: ObjectStore
  readonly quarantine: Pick<Quarantine, 'check' | 'crashed'>
  readonly capabilities: readonly Capability[]
  readonly log: { error(fields: object, message: string): void }
}

/** Where a run stands among others: one that a step asked for, or one that a tool asked for. */
export interface Place {
  /** `<effectKey>#<attempt>`, or of a called tool the key of the host call that asked. */
  readonly key: string
  readonly effectKey: string
  /** What the skill may do here: its grant, and for a called tool no more than its caller may. */
  readonly permissions: Permissions
  /** Names of the skills above. */
  readonly callers: readonly string[]
  readonly chain: readonly string[]
  readonly budget: CallBudget
  readonly signal: AbortSignal
}

export interface Ran {
  readonly output: unknown
  readonly usage: ToolUsage
  readonly record: CallRecord
}

export type RunTool = (call: ToolCall, skill: PinnedSkill, tool: string, input: unknown, place?: Place) => Promise<Ran>

/** One tool of one pinned skill, from input to output: schemas, capabilities, sandbox, journal, record. */
export function createRunner(deps: RunDeps): RunTool {
  const methods = new Map<string, Method>(deps.capabilities.flatMap(({ methods }) => Object.entries(methods)))

  return async (call, skill, tool, input, place = placeOf(call, skill, tool)) => {
    const loaded = await loadForCall(() => deps.loader.load(skill.digest), skill)
    const validators = findValidators(loaded, skill, tool)
    hold(validators.input, input, 'TOOL_INPUT_INVALID', skill, tool)
    const context: TenantContext = { tenantId: call.tenantId, actor: { kind: 'skill', id: skill.name } }
    await deps.quarantine.check(context, skill)

    const names = [...FREE, ...namesFor(place.permissions, deps.capabilities)]
    const ended = new AbortController()
    const signal = AbortSignal.any([place.signal, ended.signal])
    const caller: Caller = { ...shared(call), ...place, signal, context, skill, call }
    const hostCalls =
      names.length > FREE.size
        ? await HostCalls.open({ ...deps, methods }, caller, {
            callKey: place.key,
            time: call.time,
            stop: () => ended.abort()
          })
        : undefined
    const request = sandboxCall(call, skill, tool, { loaded, names, place, input, signal, hostCalls })
    const keep = (usage: SandboxUsage | undefined, outcome: CallRecord['outcome']) =>
      recordOf(deps.objects, {
        call,
        skill,
        tool,
        place,
        request,
        usage,
        hostDigest: hostCalls?.digest(usage?.wakes ?? []) ?? null,
        outcome
      })
    try {
      const result = await deps.sandbox.run(request)
      const bytes = Buffer.byteLength(result.output)
      const record = await keep(result.usage, { output: hash('sha256', result.output), bytes })
      const usage = usageOf(result.usage, place.budget)
      const output: unknown = JSON.parse(result.output)
      hold(validators.output, output, 'TOOL_OUTPUT_INVALID', skill, tool, { usage, record })
      // It did not wait for the host call that broke; what it answers stands on something that is not there.
      if (hostCalls?.broken) throw failed(hostCalls.broken, { usage, record })
      return { output, usage, record }
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error
      // First: it counts also where no record of it can be kept.
      await deps.quarantine.crashed(context, { skill, sessionId: call.sessionId, step: call.step, error })
      const { code } = error
      const message = storableText(error.message, MAX_MESSAGE)
      const ran = error.usage && {
        usage: usageOf(error.usage, place.budget),
        record: await keep(error.usage, { code, message, limit: LIMITS.has(code) || !error.usage.replayable })
      }
      throw failed(hostCalls?.broken ?? error, ran)
    } finally {
      ended.abort() // what the tool left under way: its sockets, its called tools
    }
  }
}

function failed(
  reason: ToolError | SandboxError,
  ran: { usage: ToolUsage; record: CallRecord } | undefined
): ToolError {
  const { code, message, retryable, details } = reason
  return new ToolError(code, message, { retryable, ...(details ? { details } : {}), cause: reason, ...ran })
}

function placeOf(call: ToolCall, skill: PinnedSkill, tool: string): Place {
  const permissions = skill.grant as Permissions
  const granted = permissions.model?.tokens ?? 0
  return {
    key: `${call.effectKey}#${call.attempt}`,
    effectKey: call.effectKey,
    permissions,
    callers: [],
    chain: [`${skill.alias}.${tool}`],
    budget: new CallBudget({ tokens: Math.min(granted, call.left?.tokens ?? granted) }),
    signal: call.signal
  }
}

function shared({ tenantId, sessionId, step, attempt }: ToolCall) {
  return { tenantId, sessionId, step, attempt }
}

interface Parts {
  loaded: LoadedSkill
  names: string[]
  place: Place
  input: unknown
  signal: AbortSignal
  hostCalls: HostCalls | undefined
}

function sandboxCall(
  call: ToolCall,
  skill: PinnedSkill,
  tool: string,
  { loaded, names, place, input, signal, hostCalls }: Parts
): SandboxCall {
  const { tenantId, sessionId, step, attempt } = call
  const { limits, entry } = loaded.manifest
  const nested = place.chain.length > 1
  const data = guestData(place.permissions)
  return {
    tenantId,
    sessionId,
    skill: { digest: loaded.digest, entry, files: loaded.sources, verified: skill.verified },
    export: tool,
    input: JSON.stringify(input),
    limits: {
      ...limits,
      wallMs: Math.min(limits.wallMs, call.timeoutMs ?? limits.wallMs),
      cpuMs: Math.min(limits.cpuMs, call.left?.cpuMs ?? limits.cpuMs),
      hostCalls: Math.min(limits.hostCalls, call.left?.hostCalls ?? limits.hostCalls)
    },
    session: sessionOf({ step, attempt, effectKey: place.effectKey }, tenantId, sessionId),
    time: hostCalls?.time ?? call.time,
    // Two calls of one tool in one step draw different numbers.
    seed: nested ? `${call.seed}:${place.effectKey}` : call.seed,
    capabilities: names,
    ...(data ? { data } : {}),
    ...(call.concurrency === undefined ? {} : { concurrency: call.concurrency }),
    ...(nested ? { nested } : {}),
    onHostCall: async (name, args, n) => {
      if (name !== 'progress')
        return await must(hostCalls, 'the journal of a call with capabilities').answer(name, args, n)
      if (!nested) progress(call, args)
      return 'null'
    },
    onLog: (line) => call.onLog?.(nested ? { ...line, message: `${place.chain.at(-1)}: ${line.message}` } : line),
    signal
  }
}

function progress(call: ToolCall, args: string): void {
  const [value, message]: unknown[] = JSON.parse(args)
  const isNumber = typeof value === 'number' && Number.isFinite(value)
  const fraction = isNumber ? Math.min(1, Math.max(0, value)) : undefined
  call.onProgress?.(fraction, typeof message === 'string' ? message.slice(0, 1000) : undefined)
}

function usageOf(usage: SandboxUsage | undefined, budget: CallBudget): ToolUsage {
  return {
    cpuMs: (usage?.cpuMs ?? 0) + budget.cpuMs,
    wallMs: usage?.wallMs ?? 0,
    hostCalls: (usage?.hostCalls ?? 0) + budget.hostCalls,
    tokens: budget.tokens,
    calls: 1 + budget.calls,
    killed: usage?.killed ?? false
  }
}

async function recordOf(
  objects: ObjectStore,
  ran: {
    call: ToolCall
    skill: PinnedSkill
    tool: string
    place: Place
    request: SandboxCall
    usage: SandboxUsage | undefined
    hostDigest: string | null
    outcome: CallRecord['outcome']
  }
): Promise<CallRecord> {
  const { call, skill, place, request, usage } = ran
  const { input } = request
  const large = input.length > INLINE_CHARS
  const record = {
    key: place.key,
    step: call.step,
    attempt: call.attempt,
    effectKey: place.effectKey,
    digest: skill.digest,
    skill: skill.name,
    version: skill.version,
    tool: ran.tool,
    time: request.time,
    seed: request.seed,
    limits: request.limits,
    capabilities: request.capabilities,
    ...(request.data ? { data: { ...request.data } } : {}),
    generation: usage?.generation ?? 0,
    nth: usage?.nth ?? 0,
    wakes: [...(usage?.wakes ?? [])],
    hostCalls: usage?.hostCalls ?? 0,
    hostDigest: ran.hostDigest,
    cpuMs: usage?.cpuMs ?? 0,
    outcome: ran.outcome
  }
  return {
    ...record,
    input: large ? { ref: (await objects.put(call.tenantId, Buffer.from(input))).digest } : { text: input },
    seal: sealOf({ ...record, input, session: request.session })
  }
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
