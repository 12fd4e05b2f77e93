// Runs the calls of a recording again, in a sandbox of this machine: each in an isolate as it was, with the time, the seed
// and the answers that it had.
import { randomUUID } from 'node:crypto'
import { Sandbox, type SandboxCall, type SandboxClock, SandboxError } from 'agentos/sandbox'
import { type Call, findChange, labelOf, type Recording, type Skill, sha256 } from './recording.ts'

export interface Verdict {
  call: string
  skill: string
  tool: string
  hostCalls: number
  /** `changed`: the recording is not what was recorded. `skipped`: there is nothing to compare, `why` says why. */
  result: 'identical' | 'diverged' | 'changed' | 'skipped'
  why?: string
  cpuMs?: number
}

/** Without JIT, as code that nobody vouches for runs: it is about as much slower. What still meets a limit went another way. */
const PATIENCE = 30
const MIN_CPU_MS = 30_000
/** Not the code's doing: this machine has no cell for it, or a whole process that died under it. */
const NOT_RUN = /^SANDBOX_(KILLED|CANCELLED|CLOSED|BUSY)$/

/** The sandbox of this machine could not run a call: no verdict would be true. */
export class NotRun extends Error {}

interface Isolate {
  id: string
  /** Calls that it ran so far. */
  ran: number
  /** Why what it holds in memory is not what it held then. */
  lost?: string
  last: number
}

/** What calls are replayed in: one at a time, in one process. The caller closes it. */
export function openSandbox(): Sandbox {
  return new Sandbox({ clock, spareCells: 0, maxCells: 1, callsPerCell: 1 })
}

/**
 * One verdict for each call, in the order in which they were made.
 * @param wanted key or label of the only call to be told; those before it in its isolate run all the same
 * @throws NotRun
 */
export async function* replay(
  sandbox: Sandbox,
  recording: Recording,
  { wanted, signal }: { wanted?: string | undefined; signal: AbortSignal }
): AsyncGenerator<Verdict> {
  const { calls, sessionId } = recording
  const skills = new Map(recording.skills.map((skill) => [skill.digest, skill]))
  const isolates = isolatesOf(calls)
  const isWanted = (call: Call) => wanted === undefined || call.key === wanted || labelOf(call, sessionId) === wanted
  const needed = new Set(calls.flatMap((call, index) => (isWanted(call) ? [isolates[index]] : [])))
  for (const [index, call] of calls.entries()) {
    const isolate = isolates[index]
    if (!isolate || !needed.has(isolate)) continue
    const verdict = await judge(sandbox, call, isolate, skills.get(call.digest), signal)
    if (index === isolate.last) sandbox.endSession('replay', isolate.id)
    if (!isWanted(call)) continue
    const skill = `${call.skill} ${call.version}`
    yield { call: labelOf(call, sessionId), skill, tool: call.tool, hostCalls: call.host.length, ...verdict }
  }
}

/**
 * Which isolate ran each call. Generations are those of one server process: another one counts from 1 again, so a call that
 * was its isolate's first begins a new one.
 */
function isolatesOf(calls: readonly Call[]): Isolate[] {
  const open = new Map<string, Isolate>()
  return calls.map(({ digest, generation, nth }, index) => {
    const key = `${digest} ${generation}`
    const known = nth === 0 ? undefined : open.get(key)
    const isolate = known ?? { id: randomUUID(), ran: 0, last: index }
    isolate.last = index
    open.set(key, isolate)
    return isolate
  })
}

type Judged = Pick<Verdict, 'result' | 'why' | 'cpuMs'>

async function judge(
  sandbox: Sandbox,
  call: Call,
  isolate: Isolate,
  skill: Skill | undefined,
  signal: AbortSignal
): Promise<Judged> {
  const change = findChange(call)
  const lose = (why: string) => {
    isolate.lost ??= why
  }
  if (change !== null) {
    lose('an earlier call of its isolate was changed')
    return { result: 'changed', why: change }
  }
  if (isolate.lost !== undefined) return { result: 'skipped', why: isolate.lost }
  if ('code' in call.outcome && call.outcome.limit) {
    lose('an earlier call of its isolate was ended by a limit')
    return { result: 'skipped', why: `ended by ${call.outcome.code}` }
  }
  if (!skill) return { result: 'skipped', why: 'the recording has no source of its skill' }
  if (call.nth !== isolate.ran) {
    lose('earlier calls of its isolate are not in the recording')
    return { result: 'skipped', why: 'earlier calls of its isolate are not in the recording' }
  }
  isolate.ran += 1
  const judged = await run(sandbox, call, isolate.id, skill, signal)
  if (judged.result !== 'identical') lose('an earlier call of its isolate went another way')
  return judged
}

async function run(
  sandbox: Sandbox,
  call: Call,
  sessionId: string,
  skill: Skill,
  signal: AbortSignal
): Promise<Judged> {
  const host = new Map(call.host.map((entry) => [entry.n, entry]))
  const asked = new Set<number>()
  const over = new AbortController()
  let strayed: string | undefined
  const stray = (why: string) => {
    strayed ??= why
    over.abort()
    return new Error(why)
  }
  const request: SandboxCall = {
    tenantId: 'replay',
    sessionId,
    // Whose code this is nobody knows here: it runs as that of strangers, without JIT.
    skill: { digest: skill.digest, entry: skill.entry, files: new Map(Object.entries(skill.files)), verified: false },
    export: call.tool,
    input: call.input,
    limits: {
      ...call.limits,
      cpuMs: Math.max(MIN_CPU_MS, call.limits.cpuMs * PATIENCE),
      wallMs: Math.max(MIN_CPU_MS, call.limits.wallMs * PATIENCE)
    },
    session: call.session,
    time: call.time,
    seed: call.seed,
    capabilities: call.capabilities,
    ...(call.data ? { data: call.data } : {}),
    replay: { wakes: call.wakes },
    signal: AbortSignal.any([signal, over.signal]),
    onHostCall: async (name, args, n) => {
      if (name === 'progress') return 'null'
      asked.add(n)
      const recorded = host.get(n)
      if (!recorded) {
        // The call ended before anybody answered it.
        if (!call.wakes.includes(n)) return await new Promise<never>(() => {})
        throw stray(`host call ${n} ${name}: it is not in the recording`)
      }
      if (recorded.name !== name) throw stray(`host call ${n}: recorded ${recorded.name}, now ${name}`)
      if (recorded.args !== args)
        throw stray(`host call ${n} ${name}: recorded args ${shown(recorded.args)}, now ${shown(args)}`)
      if (recorded.ok) return recorded.answer
      const { code, message } = JSON.parse(recorded.answer) as { code: string; message: string }
      throw Object.assign(new Error(message), { code })
    }
  }
  const { cpuMs, end } = await endOf(sandbox, request)
  if (signal.aborted) throw signal.reason
  if (strayed !== undefined) return { result: 'diverged', why: strayed, cpuMs }
  if ('code' in end && NOT_RUN.test(end.code)) throw new NotRun(`${call.key}: ${end.code}: ${end.message}`)
  const silent = call.host.find(({ n }) => call.wakes.includes(n) && !asked.has(n))
  if (silent) {
    const instead = 'code' in end ? `, but ${end.code}: ${end.message}` : ''
    const why = `host call ${silent.n} ${silent.name}: recorded, now it is not made${instead}`
    return { result: 'diverged', why, cpuMs }
  }
  return { ...compare(call.outcome, end), cpuMs }
}

type End = { output: string } | { code: string; message: string }

async function endOf(sandbox: Sandbox, request: SandboxCall): Promise<{ cpuMs: number; end: End }> {
  try {
    const { output, cpuMs } = await sandbox.run(request)
    return { cpuMs, end: { output } }
  } catch (error) {
    // Not a call that a sandbox would take: whoever wrote this recording made it up.
    if (error instanceof TypeError) return { cpuMs: 0, end: { code: 'RECORDING_BROKEN', message: error.message } }
    if (!(error instanceof SandboxError)) throw error
    const { code, message, usage } = error
    return { cpuMs: usage?.cpuMs ?? 0, end: { code, message: asRecorded(message) } }
  }
}

/** A recorded message went through a database, which keeps neither U+0000 nor half of a surrogate pair. */
function asRecorded(message: string): string {
  return message
    .slice(0, 16 * 1024)
    .toWellFormed()
    .replaceAll('\u0000', '\ufffd')
}

function compare(recorded: Call['outcome'], now: End): Judged {
  if ('code' in now && now.code === 'SANDBOX_DIVERGED') return { result: 'diverged', why: now.message }
  if ('output' in recorded) {
    if ('code' in now) return { result: 'diverged', why: `recorded an output, now ${now.code}: ${now.message}` }
    if (sha256(now.output) === recorded.output) return { result: 'identical' }
    const bytes = Buffer.byteLength(now.output)
    const lengths =
      bytes === recorded.bytes ? `both of ${bytes} bytes` : `recorded ${recorded.bytes} bytes, now ${bytes}`
    return { result: 'diverged', why: `output differs: ${lengths}; now ${shown(now.output)}` }
  }
  if ('output' in now)
    return { result: 'diverged', why: `recorded ${recorded.code}, now the output ${shown(now.output)}` }
  if (now.code === recorded.code && now.message === recorded.message) return { result: 'identical' }
  return { result: 'diverged', why: `recorded ${recorded.code}: ${recorded.message}, now ${now.code}: ${now.message}` }
}

function shown(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`
}

const clock: SandboxClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, work) {
    const timer = setTimeout(work, ms)
    return { cancel: () => clearTimeout(timer) }
  },
  every(ms, work) {
    const timer = setInterval(work, ms)
    return { cancel: () => clearInterval(timer) }
  }
}
