import { Refusal } from '#skills-registry/refusal.ts'
import { PACKAGE_LIMITS } from './limits.ts'
import { checkPath, comparePaths, twinKey } from './paths.ts'

// A tar of plain files in memory, one encoding per content: what this writer would not have written, this reader
// refuses. Nothing is ever extracted (docs/threats: five CVEs of tar libraries in the first months of 2026).

const BLOCK = 512
const encoder = new TextEncoder()
const latin1 = new TextDecoder('latin1')

const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0')

/** The one header that a file of this path and size may have: mode 0644, uid and gid 0, mtime 0, no names. */
function header(path: string, size: number): Uint8Array {
  const block = new Uint8Array(BLOCK)
  const put = (offset: number, text: string) => block.set(encoder.encode(text), offset)
  put(0, path)
  put(100, '0000644\0')
  put(108, '0000000\0')
  put(116, '0000000\0')
  put(124, `${octal(size, 11)}\0`)
  put(136, '00000000000\0')
  put(148, '        ')
  put(156, '0')
  put(257, 'ustar\x0000')
  put(329, '0000000\0')
  put(337, '0000000\0')
  put(148, `${octal(checksum(block), 6)}\0 `)
  return block
}

/** Sum of the header's bytes with the checksum field read as spaces. */
function checksum(block: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : (block[i] ?? 0)
  return sum
}

/** Writes files as ustar in path order. @throws SKILLS_PACKAGE_PATH */
export function writeTar(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const parts: Uint8Array[] = []
  for (const [path, content] of [...files].sort(([a], [b]) => comparePaths(a, b))) {
    checkPath(path)
    parts.push(header(path, content.length), content, new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK))
  }
  parts.push(new Uint8Array(2 * BLOCK))
  return Buffer.concat(parts)
}

/** Reads what writeTar wrote. @throws SKILLS_PACKAGE_* for everything else */
export function readTar(tar: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  const twins = new Set<string>()
  let last = ''
  let offset = 0
  for (;;) {
    const block = tar.subarray(offset, offset + BLOCK)
    if (block.length < BLOCK) throw new Refusal('SKILLS_PACKAGE_TAR_TRUNCATED', `the tar ends at byte ${tar.length}`)
    if (isZero(block)) break
    if (files.size === PACKAGE_LIMITS.entries) {
      throw new Refusal('SKILLS_PACKAGE_TOO_MANY_ENTRIES', `more than ${PACKAGE_LIMITS.entries} entries`)
    }
    const { path, size } = readHeader(block, offset)
    if (twins.has(twinKey(path))) {
      throw new Refusal('SKILLS_PACKAGE_DUPLICATE_PATH', `${path} is there twice, maybe in other spelling`, { path })
    }
    if (comparePaths(last, path) > 0) {
      throw new Refusal('SKILLS_PACKAGE_UNSORTED', `${path} stands after ${last}`, { path })
    }
    const start = offset + BLOCK
    const end = start + size
    const next = start + Math.ceil(size / BLOCK) * BLOCK
    if (next > tar.length) {
      throw new Refusal('SKILLS_PACKAGE_TAR_TRUNCATED', `${path} says ${size} bytes and the tar ends before`, { path })
    }
    if (!isZero(tar.subarray(end, next))) {
      throw new Refusal('SKILLS_PACKAGE_TAR_PADDING', `bytes are hidden behind the end of ${path}`, { path })
    }
    files.set(path, tar.subarray(start, end))
    twins.add(twinKey(path))
    last = path
    offset = next
  }
  const rest = tar.subarray(offset)
  if (rest.length < 2 * BLOCK) throw new Refusal('SKILLS_PACKAGE_TAR_TRUNCATED', 'the second end block is missing')
  if (rest.length > 2 * BLOCK || !isZero(rest)) {
    throw new Refusal('SKILLS_PACKAGE_TAR_TRAILING', 'something stands behind the end of the tar')
  }
  return files
}

function readHeader(block: Uint8Array, offset: number): { path: string; size: number } {
  const field = (from: number, length: number) => latin1.decode(block.subarray(from, from + length))
  if (field(148, 8) !== `${octal(checksum(block), 6)}\0 `) {
    throw new Refusal('SKILLS_PACKAGE_TAR_CHECKSUM', `the tar header at byte ${offset} does not match its checksum`)
  }
  const name = field(0, 100).replace(/\0.*$/s, '')
  const where = { path: name.slice(0, 200), offset }
  const type = field(156, 1)
  // x, g: pax; L, K: long names of GNU tar; S, M, V, N: its other extensions. Any of them can rename another entry.
  if ('xgXLKSMVND'.includes(type)) {
    throw new Refusal('SKILLS_PACKAGE_TAR_EXTENSION', `${name}: tar extension "${type}" is not allowed`, where)
  }
  if (type === '1' || type === '2') throw new Refusal('SKILLS_PACKAGE_TAR_LINK', `${name} is a link`, where)
  if (type !== '0') throw new Refusal('SKILLS_PACKAGE_TAR_TYPE', `${name} is not a plain file`, where)
  checkPath(name)
  const digits = field(124, 11)
  const size = /^[0-7]{11}$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
  // One comparison holds every other field (mode, owner, times, names, devices, prefix, magic) to its only value.
  if (!(size >= 0) || Buffer.compare(header(name, size), block) !== 0) {
    throw new Refusal(
      'SKILLS_PACKAGE_TAR_FORMAT',
      `${name}: the tar header is not plain ustar, 0644, owner 0, time 0`,
      where
    )
  }
  return { path: name, size }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}
