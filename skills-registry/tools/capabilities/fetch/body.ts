import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress
} from 'node:zlib'
import { CapabilityError } from '../../capability.ts'

/** What a request may ask the answer to be packed with. */
export const ACCEPT_ENCODING = 'gzip, deflate, br, zstd'

/** Room for what packing adds to bytes that do not shrink. */
const OVERHEAD = 16 * 1024

/**
 * Reads an answer's body whole, unpacked; counts packed and unpacked bytes as they come and stops at the first one too
 * many, so a bomb costs what the limit costs. No ratio is looked at: within the limit any ratio is honest.
 * @param count told the bytes as they came over the wire
 * @throws CapabilityError FETCH_TOO_LARGE, FETCH_FAILED; what the stream fails of
 */
export async function readBody(
  body: Readable,
  encoding: string | undefined,
  limit: number,
  count: (bytes: number) => void
): Promise<Buffer> {
  const tooLarge = () =>
    new CapabilityError('FETCH_TOO_LARGE', `the body of the answer is larger than ${limit} bytes unpacked`)
  const unpacker = encoding === undefined ? null : unpackerOf(encoding)
  let wire = 0
  const counted = async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      wire += chunk.length
      count(chunk.length)
      if (wire > limit + (unpacker ? OVERHEAD : 0)) throw tooLarge()
      yield chunk
    }
  }
  const chunks: Buffer[] = []
  let size = 0
  const collect = async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) {
      size += chunk.length
      if (size > limit) throw tooLarge()
      chunks.push(chunk)
    }
  }
  if (!unpacker) await pipeline(body, counted, collect)
  else await pipeline(body, counted, (source) => unpacked(source, encoding ?? '', unpacker), collect)
  return Buffer.concat(chunks, size)
}

async function* unpacked(source: AsyncIterable<Buffer>, encoding: string, unpacker: Unpacker): AsyncIterable<Buffer> {
  const rest = source[Symbol.asyncIterator]()
  const first = await rest.next()
  if (first.done) return // an answer without a body may name an encoding all the same
  let sourceFailed = false
  const packed = async function* () {
    yield first.value
    try {
      yield* { [Symbol.asyncIterator]: () => rest }
    } catch (error) {
      sourceFailed = true
      throw error
    }
  }
  const stream = unpacker(first.value)
  const feeding = pipeline(packed, stream)
  feeding.catch(() => {}) // the loop over the stream gets the same error
  try {
    yield* stream
    await feeding
  } catch (error) {
    if (sourceFailed) throw error
    throw new CapabilityError('FETCH_FAILED', `the body of the answer is no complete ${encoding.trim()}`)
  }
}

type Unpacker = (first: Buffer) => Transform

/** @throws CapabilityError FETCH_FAILED for what was not asked for, and for packed in packed: no host needs it, bombs do */
function unpackerOf(encoding: string): Unpacker | null {
  const name = encoding.trim().toLowerCase()
  const unpack = UNPACKERS.get(name)
  if (unpack !== undefined) return unpack
  // Not quoted: it is the host's text.
  throw new CapabilityError('FETCH_FAILED', `the answer's content-encoding is none of ${ACCEPT_ENCODING}`)
}

const gunzip: Unpacker = () => createGunzip()
const UNPACKERS = new Map<string, Unpacker | null>([
  ['identity', null],
  ['', null],
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  ['br', () => createBrotliDecompress()],
  // Hosts send it with and without the zlib header; its first byte tells.
  ['deflate', (first) => ((first[0] ?? 0) % 16 === 8 ? createInflate() : createInflateRaw())],
  // RFC 9659: 8 MiB of window is the most for an answer; the default would let a host ask for 128 MiB.
  ['zstd', () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } })]
])
