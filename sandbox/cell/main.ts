// A cell's main thread: bytes between the frame socket (fd 3) and the thread of isolates. It never touches guest code, so
// it answers whatever happens there, and it ends the process when the supervisor is gone.
import { Socket } from 'node:net'
import { env, kill, pid } from 'node:process'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { move, Piscina } from 'piscina'
import { encodeFrame, FrameDecoder, FrameError, Kind, MAX_TO_CELL } from '../wire/frames.ts'
import type { ThreadTask } from './thread.ts'

env.TZ = 'UTC' // without a jail the host's /etc/localtime would decide what a skill computes

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

const decoder = new FrameDecoder(MAX_TO_CELL)
socket.on('data', (chunk: Buffer) => {
  const batch: Buffer[] = []
  const control: Buffer[] = []
  try {
    decoder.push(chunk, (frame, whole) => {
      if (frame.kind === Kind.cancel || frame.kind === Kind.hostResult) control.push(whole)
      else batch.push(whole)
    })
  } catch (error) {
    if (error instanceof FrameError) die()
    throw error
  }
  // What came together goes to the thread as one task: one hop for up to 16 calls.
  if (batch.length > 0) {
    pool.run(pack(batch)).catch(die)
  }
  if (control.length > 0) {
    const bytes = pack(control)
    port.postMessage(bytes, [bytes.buffer])
  }
})
for (const event of ['end', 'close', 'error'] as const) socket.on(event, die)
pool.on('error', die)

port.on('message', (bytes: Uint8Array) => socket.write(bytes))
await pool.run(move(port2) as MessagePort)
socket.write(encodeFrame(Kind.ready, 0, { node: process.version }))
