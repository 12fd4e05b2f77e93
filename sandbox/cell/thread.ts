// The one Piscina thread of a cell: every isolate of the cell is driven from here. isolated-vm runs guest code in threads
// of its own, so this event loop stays free to watch budgets, whatever a guest does.
import type { MessagePort } from 'node:worker_threads'
import { type Frame, FrameDecoder, Kind, MAX_TO_CELL } from '../wire/frames.ts'
import type { CallHead, Failure, HostCallHead, LoadHead, Outcome } from '../wire/messages.ts'
import { BLOCKED_BYTES, Blocked } from './blocked.ts'
import { cancellation, classify, late, outOfMemory, readFailure, spent } from './failure.ts'
import { Guest, QUICK_CPU_MS, type RunArguments } from './guest.ts'
import { type GuestSkill, LoadError } from './link.ts'
import { open, send } from './outbox.ts'

/**
 * The first task is the port for everything that must not wait behind a task, and where this thread says what blocks it;
 * each later one is a batch of frames.
 */
export type ThreadTask = { port: MessagePort; blocked: Int32Array } | Uint8Array

interface Call {
  id: number
  head: CallHead
  /** Which idle isolate may run it. */
  key: string
  guest: Guest | undefined
  startedAt: number
  hostCalls: number
  done: boolean
  /** The trampoline's word, until the guest has come to rest. */
  answer: string | undefined
  /** Its session ended meanwhile: the isolate is not kept. */
  orphan: boolean
  settled: () => void
  /** Set when a budget ended the call; what its isolate says afterwards is noise. */
  verdict: Failure | undefined
  /** What woke the guest up since the last frame that told of it. */
  wakes: number[] | undefined
}

const WATCH_MS = 10
const LAST_WORD_MS = 40
const STUCK_MS = 200 // below the supervisor's grace of 250 ms, so that the exact verdict arrives first
const MAX_IDLE_GUESTS = 48

const skills = new Map<string, GuestSkill>()
const calls = new Map<number, Call>()
const cancelled = new Set<number>()
// Idle isolates, least recently used first. A second call of a session at the same time gets an isolate of its own:
// a kill ends one call only, CPU is counted exactly, and random numbers do not depend on interleaving.
const idle: { key: string; sessionId: string; guest: Guest }[] = []

let blocked: Int32Array = new Int32Array(BLOCKED_BYTES / 4)
let watch: NodeJS.Timeout | undefined

/** Piscina's entry. A batch ends with the last of its calls. */
export default async function run(task: ThreadTask): Promise<void> {
  if (!(task instanceof Uint8Array)) {
    blocked = task.blocked
    open(task.port, blocked)
    task.port.on('message', (bytes: Uint8Array) => control(bytes))
    return
  }
  const running: Promise<void>[] = []
  each(task, (frame) => {
    const head = frame.head.length > 0 ? JSON.parse(frame.head.toString()) : undefined
    if (frame.kind === Kind.load) {
      const { digest, entry } = head as LoadHead
      skills.set(digest, { digest, entry, files: new Map(Object.entries(JSON.parse(frame.tail.toString()))) })
    } else if (frame.kind === Kind.endSession) endSession(String(head.sessionId))
    else if (frame.kind === Kind.call) running.push(start(frame.id, head as CallHead, frame.tail.toString()))
  })
  await Promise.all(running)
}

/** Frames that must not wait behind a task: results of host calls, cancellations. */
function control(bytes: Uint8Array): void {
  each(bytes, (frame) => {
    const call = calls.get(frame.id)
    if (frame.kind === Kind.cancel) {
      if (call) end(call, JSON.parse(frame.head.toString()).timedOut ? late(call.head.wallMs) : cancellation)
      else cancelled.add(frame.id)
    } else if (frame.kind === Kind.hostResult && call?.guest && !call.verdict) {
      const { n, ok } = JSON.parse(frame.head.toString()) as { n: number; ok: boolean }
      call.guest.deliver(n, ok, frame.tail.toString())
    }
  })
}

function each(bytes: Uint8Array, take: (frame: Frame) => void): void {
  new FrameDecoder(MAX_TO_CELL).push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), take)
}

function start(id: number, head: CallHead, input: string): Promise<void> {
  return new Promise((settled) => {
    const call: Call = {
      id,
      head,
      key: JSON.stringify([head.sessionId, head.digest, head.memoryMb]),
      guest: undefined,
      startedAt: performance.now(),
      hostCalls: 0,
      done: false,
      answer: undefined,
      orphan: false,
      settled,
      verdict: undefined,
      wakes: undefined
    }
    calls.set(id, call)
    watch ??= setInterval(check, WATCH_MS)
    if (cancelled.delete(id)) fail(call, cancellation)
    else execute(call, input).catch((error: unknown) => fail(call, call.verdict ?? classify(call.guest, error)))
  })
}

async function execute(call: Call, input: string): Promise<void> {
  const { head } = call
  const at = idle.findLastIndex((entry) => entry.key === call.key)
  let guest = at < 0 ? undefined : idle.splice(at, 1)[0]?.guest
  if (!guest) {
    const skill = skills.get(head.digest)
    if (!skill) throw new LoadError('the skill was not sent to this cell')
    guest = new Guest(skill, head.memoryMb)
  }
  call.guest = guest
  guest.take({
    time: head.time,
    seed: head.seed,
    replay: head.replay,
    log: (level, message) => send(Kind.log, call.id, { level }, message),
    hostCall: (n, name, args) => {
      if (call.verdict) return // its last moments after ctx.signal: no more effects
      call.hostCalls++
      send(Kind.hostCall, call.id, { n, name, ...wakes(call) } satisfies HostCallHead, args)
    },
    block: (run) => block(call, run),
    woken: (wake) => {
      if (call.wakes === undefined) call.wakes = [wake]
      else call.wakes.push(wake)
    },
    diverged: (expected) => {
      call.verdict ??= { code: 'SANDBOX_DIVERGED', message: `the tool does not follow the recording: ${expected}` }
      fail(call, call.verdict)
    },
    answer: (text) => {
      call.answer = text
    },
    rested: () => {
      if (call.answer !== undefined && !call.done) conclude(call, call.answer)
    },
    failed: (error) => {
      call.verdict ??= outOfTime(call, error) ?? classify(call.guest, error)
      fail(call, call.verdict)
    },
    catastrophe: () => fail(call, { ...outOfMemory, stuck: true })
  })
  if (!guest.loaded) await guest.load()
  const { time, seed, hostCalls } = head
  const args: RunArguments = [
    head.export,
    input,
    time,
    seed,
    hostCalls,
    JSON.stringify(head.session),
    JSON.stringify([head.capabilities.map(split), head.data])
  ]
  if (guest.quick) guest.runHere(args)
  else guest.run(args)
}

function split(name: string): { name: string; group?: string; member?: string } {
  const [group = '', member] = name.split('.')
  return member === undefined ? { name } : { name, group, member }
}

/** On this thread: four times as fast for what is soon done. The main thread watches, and has the cell killed in need. */
function block(call: Call, run: (timeoutMs: number) => void): void {
  const { head } = call
  const wallMs = head.wallMs - (performance.now() - call.startedAt)
  const timeoutMs = Math.max(1, Math.ceil(Math.min(head.cpuMs * 2, wallMs)))
  Atomics.store(blocked, Blocked.call, call.id)
  Atomics.store(blocked, Blocked.timeoutMs, timeoutMs)
  Atomics.add(blocked, Blocked.count, 1) // odd: blocked
  try {
    run(timeoutMs)
  } finally {
    Atomics.add(blocked, Blocked.count, 1)
  }
}

/** For the error of isolated-vm's own timeout; the guest cannot throw it, its errors come as the trampoline's string. */
function outOfTime(call: Call, error: unknown): Failure | undefined {
  if (!(error instanceof Error) || error.message !== 'Script execution timed out.') return undefined
  return performance.now() - call.startedAt > call.head.wallMs ? late(call.head.wallMs) : spent(call.head.cpuMs)
}

function conclude(call: Call, answer: string): void {
  const cpu = cpuMs(call)
  if (call.guest) call.guest.quick = cpu < QUICK_CPU_MS
  const failure = call.verdict ?? readFailure(answer, call.guest?.skill)
  if (failure) fail(call, failure)
  else if (!over(call, cpu)) finish(call, () => send(Kind.result, call.id, outcome(call), answer.slice(1)))
}

/** Ends a running call from outside: dispose first; when its isolate does not let go, the supervisor is told to kill. */
function end(call: Call, verdict: Failure): void {
  if (call.done || call.verdict) return
  call.verdict = verdict
  const { guest } = call
  const stop = () => {
    guest?.dispose()
    // What is under way lets go by an error, and that reports; when nothing is, nobody else will.
    if (!guest?.busy) fail(call, verdict)
  }
  if (guest?.listens && (verdict.code === 'SANDBOX_CANCELLED' || verdict.limit === 'wallMs')) {
    // A skill that looks at ctx.signal gets a moment to say a last word in its log.
    guest.abort(verdict.code === 'SANDBOX_CANCELLED' ? 'AbortError' : 'TimeoutError', verdict.message)
    setTimeout(stop, LAST_WORD_MS)
  } else stop()
  setTimeout(() => fail(call, { ...verdict, stuck: true }), STUCK_MS)
}

function over(call: Call, cpu: number): boolean {
  const { cpuMs: maxCpu, wallMs: maxWall } = call.head
  if (cpu > maxCpu) end(call, spent(maxCpu))
  else if (performance.now() - call.startedAt > maxWall) end(call, late(maxWall))
  else return false
  return true
}

function check(): void {
  // Here and not with the last call: quick ones come and go many times between two looks.
  if (calls.size === 0) {
    clearInterval(watch)
    watch = undefined
  }
  for (const call of calls.values()) if (!call.done && !call.verdict) over(call, cpuMs(call))
}

function cpuMs(call: Call): number {
  return call.guest?.cpuMs() ?? 0
}

function outcome(call: Call): Outcome {
  const cpu = Math.round(cpuMs(call) * 1000) / 1000
  return { cpuMs: cpu, isolate: call.guest?.id ?? 0, hostCalls: call.hostCalls, ...wakes(call) }
}

function wakes(call: Call): { wakes?: number[] } | undefined {
  const found = call.wakes
  call.wakes = undefined
  return found && { wakes: found }
}

function fail(call: Call, failure: Failure): void {
  finish(call, () => send(Kind.error, call.id, { ...outcome(call), ...failure }))
}

function finish(call: Call, report: () => void): void {
  if (call.done) return
  call.done = true
  report()
  calls.delete(call.id)
  call.settled()
  const guest = call.guest
  if (!guest) return
  guest.leave()
  // An isolate that never loaded is of no use.
  if (!guest.loaded || call.verdict || call.orphan) guest.dispose()
  if (guest.disposed) return
  idle.push({ key: call.key, sessionId: call.head.sessionId, guest })
  if (idle.length > MAX_IDLE_GUESTS) idle.shift()?.guest.dispose()
}

function endSession(sessionId: string): void {
  for (const call of calls.values()) if (call.head.sessionId === sessionId) call.orphan = true
  for (let i = idle.length - 1; i >= 0; i--) if (idle[i]?.sessionId === sessionId) idle.splice(i, 1)[0]?.guest.dispose()
}
