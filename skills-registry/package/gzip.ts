import { crc32, inflateRawSync } from 'node:zlib'
import { deflateSync } from 'fflate'
import { Refusal } from '#skills-registry/refusal.ts'
import { PACKAGE_LIMITS } from './limits.ts'

// deflate, no flags, mtime 0, XFL 2 (slowest), OS 255 (unknown): nothing in it tells the machine.
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255)
const TRAILER_BYTES = 8

/**
 * gzip with the same bytes on every machine. node:zlib cannot promise that: its deflate takes other matches where the
 * CPU has other CRC instructions; fflate is plain JavaScript (and its version is pinned).
 */
export function gzip(bytes: Uint8Array): Uint8Array {
  const trailer = Buffer.alloc(TRAILER_BYTES)
  trailer.writeUInt32LE(crc32(bytes), 0)
  trailer.writeUInt32LE(bytes.length >>> 0, 4)
  return Buffer.concat([HEADER, deflateSync(bytes, { level: 9 }), trailer])
}

/**
 * Unpacks exactly one gzip member within the limits.
 * @throws SKILLS_PACKAGE_*: not gzip, header fields in use, corrupt, checksum, bombs, anything behind the member
 */
export function gunzip(packed: Uint8Array): Uint8Array {
  if (packed.length > PACKAGE_LIMITS.packedBytes) {
    throw new Refusal('SKILLS_PACKAGE_TOO_LARGE', `${packed.length} bytes, ${PACKAGE_LIMITS.packedBytes} are allowed`)
  }
  if (packed.length < HEADER.length + TRAILER_BYTES || packed[0] !== 0x1f || packed[1] !== 0x8b) {
    throw new Refusal('SKILLS_PACKAGE_NOT_GZIP', 'a package is a gzip file')
  }
  if (Buffer.compare(packed.subarray(0, HEADER.length), HEADER) !== 0) {
    throw new Refusal('SKILLS_PACKAGE_GZIP_HEADER', 'the gzip header holds a name, a time, a system or flags')
  }
  const { content, used } = inflate(packed.subarray(HEADER.length))
  const end = HEADER.length + used
  if (end + TRAILER_BYTES > packed.length) throw new Refusal('SKILLS_PACKAGE_CORRUPT', 'the gzip trailer is cut off')
  const trailer = Buffer.from(packed.subarray(end, end + TRAILER_BYTES))
  if (trailer.readUInt32LE(0) !== crc32(content) || trailer.readUInt32LE(4) !== content.length) {
    throw new Refusal('SKILLS_PACKAGE_CHECKSUM', 'the unpacked bytes do not match the gzip checksum')
  }
  const rest = packed.subarray(end + TRAILER_BYTES)
  if (rest[0] === 0x1f && rest[1] === 0x8b) {
    throw new Refusal('SKILLS_PACKAGE_SECOND_MEMBER', 'a second gzip member follows the first')
  }
  if (rest.length > 0) throw new Refusal('SKILLS_PACKAGE_TRAILING_DATA', `${rest.length} bytes follow the gzip member`)
  return content
}

function inflate(raw: Uint8Array): { content: Uint8Array; used: number } {
  const byRatio = raw.length * PACKAGE_LIMITS.ratio
  const maxOutputLength = Math.min(PACKAGE_LIMITS.unpackedBytes, byRatio)
  try {
    const result: unknown = inflateRawSync(raw, { maxOutputLength, info: true })
    const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } }
    return { content: buffer, used: engine.bytesWritten }
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE')) {
      throw new Refusal('SKILLS_PACKAGE_CORRUPT', 'the compressed data is damaged', {}, cause)
    }
    if (byRatio < PACKAGE_LIMITS.unpackedBytes) {
      throw new Refusal('SKILLS_PACKAGE_RATIO', `it unpacks to more than ${PACKAGE_LIMITS.ratio} times its size`)
    }
    throw new Refusal('SKILLS_PACKAGE_UNPACKED_TOO_LARGE', `it unpacks to more than ${maxOutputLength} bytes`)
  }
}
