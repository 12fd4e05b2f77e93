// A cell's main thread: bytes between the frame socket (fd 3) and the thread of isolates. It never touches guest code, so
// it answers whatever happens there, and it ends the process when the supervisor is gone.
import { Socket } from 'node:net'
import { env, kill, pid } from 'node:process'
import { MessageChannel } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { encodeFrame, FrameDecoder, FrameError, Kind, MAX_TO_CELL } from '../wire/frames.ts'
import { BLOCKED_BYTES, Blocked } from './blocked.ts'
import type { ThreadTask } from './thread.ts'

env.TZ = 'UTC' // without a jail the host's /etc/localtime would decide what a skill computes

const WATCH_MS = 20
const GRACE_MS = 60 // for isolated-vm's own timeout to end it properly
const PATIENCE_MS = 80 // twice that is below the supervisor's grace of 250 ms

const socket = new Socket({ fd: 3, readable: true, writable: true })
const { port1: port, port2 } = new MessageChannel()
const pool = new Piscina<ThreadTask, void>({
  filename: new URL('./thread.ts', import.meta.url).href,
  minThreads: 1,
  maxThreads: 1,
  concurrentTasksPerWorker: 64,
  // Piscina's default parks the thread in Atomics.wait between tasks: then nobody would read host results or budgets.
  atomics: 'disabled',
  env: {},
  resourceLimits: { maxOldGenerationSizeMb: 160 }
})

function die(): never {
  // Not process.exit(): a hung isolate blocks it for ever. As pid 1 of a namespace SIGKILL to oneself is ignored, abort is not.
  kill(pid, 'SIGKILL')
  process.abort()
}

function pack(frames: Buffer[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length, 0))
  let at = 0
  for (const frame of frames) {
    bytes.set(frame, at)
    at += frame.length
  }
  return bytes
}

const blocked = new Int32Array(new SharedArrayBuffer(BLOCKED_BYTES))
let batches = 0
let watch: NodeJS.Timeout | undefined
let seen = { count: 0, at: 0 }

/** The thread runs quick calls itself; one that hangs there can only be reported from here, and killed from outside. */
function look(): void {
  const count = Atomics.load(blocked, Blocked.count)
  if (count !== seen.count) seen = { count, at: performance.now() }
  const timeoutMs = Atomics.load(blocked, Blocked.timeoutMs)
  if (count % 2 !== 0 && performance.now() - seen.at > timeoutMs + GRACE_MS) {
    const head = { cpuMs: timeoutMs, isolate: 0, hostCalls: 0, code: 'SANDBOX_TIMEOUT', message: '', limit: 'cpuMs' }
    socket.write(encodeFrame(Kind.error, Atomics.load(blocked, Blocked.call) >>> 0, { ...head, stuck: true }))
  }
  if (batches === 0) {
    clearInterval(watch)
    watch = undefined
  }
}

/**
 * Cancelled while the thread is blocked by another call, which has not hung but is longer than it was thought to be: without
 * a word from here the supervisor would take this one for the guilty one, and kill the cell.
 */
function answerFor(id: number): void {
  setTimeout(() => {
    const count = Atomics.load(blocked, Blocked.count)
    if (count % 2 === 0) return
    setTimeout(() => {
      if (Atomics.load(blocked, Blocked.count) !== count || Atomics.load(blocked, Blocked.call) >>> 0 === id) return
      const head = { cpuMs: 0, isolate: 0, hostCalls: 0, code: 'SANDBOX_CANCELLED', message: '' }
      socket.write(encodeFrame(Kind.error, id, head))
    }, PATIENCE_MS)
  }, PATIENCE_MS)
}

const decoder = new FrameDecoder(MAX_TO_CELL)
socket.on('data', (chunk: Buffer) => {
  const batch: Buffer[] = []
  const control: Buffer[] = []
  try {
    decoder.push(chunk, (frame, whole) => {
      if (frame.kind === Kind.cancel) answerFor(frame.id)
      if (frame.kind === Kind.cancel || frame.kind === Kind.hostResult) control.push(whole)
      else batch.push(whole)
    })
  } catch (error) {
    if (error instanceof FrameError) die()
    throw error
  }
  // What came together goes to the thread as one task: one hop for up to 16 calls.
  if (batch.length > 0) {
    batches++
    watch ??= setInterval(look, WATCH_MS)
    pool.run(pack(batch)).then(() => batches--, die)
  }
  if (control.length > 0) {
    const bytes = pack(control)
    port.postMessage(bytes, [bytes.buffer])
  }
})
for (const event of ['end', 'close', 'error'] as const) socket.on(event, die)
pool.on('error', die)

// Only what found the socket full; until it is written, all that comes later is handed over, too.
port.on('message', (bytes: Uint8Array) => socket.write(bytes, () => Atomics.sub(blocked, Blocked.handedOver, 1)))
await pool.run({ port: port2, blocked }, { transferList: [port2] as never })
socket.write(encodeFrame(Kind.ready, 0, { node: process.version }))
