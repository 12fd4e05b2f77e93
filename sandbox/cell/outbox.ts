// What the thread has to say, in few writes.
import { writeSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { encodeFrame } from '../wire/frames.ts'
import { BLOCKED_BYTES, Blocked } from './blocked.ts'

const SOCKET = 3
// Frames in one write: half of what runs at once, so that the engine reads one half while this thread works on the other.
const GROUP = 8

let port: MessagePort | undefined
let shared: Int32Array = new Int32Array(BLOCKED_BYTES / 4)
let unsent: Buffer[] = []

/** @param to the main thread @param blocked the memory shared with it */
export function open(to: MessagePort, blocked: Int32Array): void {
  port = to
  shared = blocked
}

export function send(kind: number, id: number, head: unknown, tail = ''): void {
  const count = unsent.push(encodeFrame(kind, id, head, tail))
  if (count === GROUP) flush()
  else if (count === 1) setImmediate(flush)
}

function flush(): void {
  if (unsent.length === 0) return
  // A fresh, exactly sized ArrayBuffer: a pooled one would be cloned whole.
  const bytes = new Uint8Array(unsent.reduce((sum, frame) => sum + frame.length, 0))
  let at = 0
  for (const frame of unsent) {
    bytes.set(frame, at)
    at += frame.length
  }
  unsent = []
  const rest = writeHere(bytes)
  if (!rest) return
  Atomics.add(shared, Blocked.handedOver, 1)
  port?.postMessage(rest, [rest.buffer])
}

/** Into the socket without a hop to the main thread, unless that still has some to write. @returns what was not written */
function writeHere(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (Atomics.load(shared, Blocked.handedOver) > 0) return bytes
  let written = 0
  try {
    written = writeSync(SOCKET, bytes)
  } catch {
    // The socket is full or closed: the main thread waits until it is not, or ends the cell.
  }
  if (written === bytes.length) return undefined
  return written === 0 ? bytes : bytes.slice(written)
}
