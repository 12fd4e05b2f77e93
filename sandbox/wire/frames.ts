// The frames of the socket between supervisor and cell; both sides use this file and trust nothing of the other.
// frame = u32 length of the rest | u8 kind | u32 id | u32 head length | head (JSON) | tail (UTF-8 text)

export const Kind = {
  // supervisor -> cell
  load: 1, // head {digest, entry}, tail: JSON object of files
  call: 2, // id: call; head CallHead; tail: input
  endSession: 3, // head {sessionId}
  cancel: 4, // id: call; head {timedOut}
  hostResult: 5, // id: call; head {n, ok}; tail: JSON text
  // cell -> supervisor
  ready: 16,
  result: 17, // id: call; head Outcome; tail: output
  error: 18, // id: call; head Outcome & Failure
  hostCall: 19, // id: call; head HostCallHead; tail: JSON text of the arguments
  log: 20 // id: call; head {level}; tail: message
} as const

export const MAX_TO_CELL = 32 * 1024 * 1024 // a package is at most 20 MiB unpacked, JSON escapes some of it
export const MAX_FROM_CELL = 1024 * 1024 + 64 * 1024 // a result of 1 MiB and its head
export const MAX_TEXT = 1024 * 1024
export const MAX_ARGS = 256 * 1024
export const MAX_MESSAGE = 16 * 1024

export const MAX_TIMERS = 1000 // set per call, at all

const HEADER = 13

export interface Frame {
  kind: number
  id: number
  head: Buffer
  tail: Buffer
}

/** The other side broke the format: there is no way to go on in this stream. */
export class FrameError extends Error {}

export function encodeFrame(kind: number, id: number, head?: unknown, tail = ''): Buffer {
  const headText = head === undefined ? '' : JSON.stringify(head)
  const headBytes = Buffer.byteLength(headText)
  const tailBytes = Buffer.byteLength(tail)
  const frame = Buffer.allocUnsafe(HEADER + headBytes + tailBytes)
  frame.writeUInt32BE(HEADER - 4 + headBytes + tailBytes, 0)
  frame.writeUInt8(kind, 4)
  frame.writeUInt32BE(id, 5)
  frame.writeUInt32BE(headBytes, 9)
  frame.write(headText, HEADER)
  frame.write(tail, HEADER + headBytes)
  return frame
}

/** Cuts a byte stream into frames. `push` throws FrameError on an oversized or malformed frame. */
export class FrameDecoder {
  readonly #max: number
  #chunks: Buffer[] = []
  #bytes = 0
  #need = 4

  constructor(maxFrameBytes: number) {
    this.#max = maxFrameBytes
  }

  /** Calls `take` for each whole frame; the buffers are views that live as long as the caller keeps them. */
  push(chunk: Buffer, take: (frame: Frame, whole: Buffer) => void): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    // A frame that comes in many chunks is joined once, when its last byte is here.
    if (this.#bytes < this.#need) return
    let data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#bytes)
    this.#need = 4
    while (data.length >= 4) {
      const length = data.readUInt32BE(0)
      if (length > this.#max || length < HEADER - 4) throw new FrameError(`frame of ${length} bytes`)
      if (data.length < 4 + length) {
        this.#need = 4 + length
        break
      }
      const whole = data.subarray(0, 4 + length)
      const headBytes = whole.readUInt32BE(9)
      if (HEADER + headBytes > whole.length) throw new FrameError('head longer than its frame')
      take(
        {
          kind: whole.readUInt8(4),
          id: whole.readUInt32BE(5),
          head: whole.subarray(HEADER, HEADER + headBytes),
          tail: whole.subarray(HEADER + headBytes)
        },
        whole
      )
      data = data.subarray(4 + length)
    }
    this.#chunks = data.length > 0 ? [data] : []
    this.#bytes = data.length
  }
}
