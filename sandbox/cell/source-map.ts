// From a line of a bundle to the author's own line. The map is the package's, so it is read here, in the tenant's own cell.
import { posix } from 'node:path'
import { originalPositionFor, TraceMap } from '@jridgewell/trace-mapping'
import type { GuestSkill } from './link.ts'

// Decoding is synchronous and stops every call of the cell meanwhile: 2 MiB take about 50 ms.
const MAX_MAP_CHARS = 2 * 1024 * 1024
const MAX_MAPS = 16
const COMMENT = /\/\/[#@] sourceMappingURL=(\S+)\s*$/

const maps = new WeakMap<GuestSkill, Map<string, TraceMap | undefined>>()

/** A position in the author's source, or undefined where the package has no map for it. Lines and columns from 1. */
export function originalPosition(
  skill: GuestSkill,
  file: string,
  line: number,
  column: number
): { source: string; line: number; column: number; name: string | null } | undefined {
  const map = mapOf(skill, file)
  if (!map || !(line >= 1)) return undefined
  const found = originalPositionFor(map, { line, column: Math.max(0, column - 1) })
  if (found.source === null) return undefined
  return { source: sourcePath(file, found.source), line: found.line, column: found.column + 1, name: found.name }
}

function mapOf(skill: GuestSkill, file: string): TraceMap | undefined {
  const known = maps.get(skill) ?? new Map<string, TraceMap | undefined>()
  maps.set(skill, known)
  if (!known.has(file) && known.size < MAX_MAPS) known.set(file, readMap(skill, file))
  return known.get(file)
}

/** The map that the file's last line names: a data: URL or a file of the package. A broken one is none. */
function readMap(skill: GuestSkill, file: string): TraceMap | undefined {
  try {
    const url = COMMENT.exec(skill.files.get(file)?.slice(-MAX_MAP_CHARS) ?? '')?.[1]
    if (url === undefined) return undefined
    const inline = /^data:application\/json[^,]*?(;base64)?,/.exec(url)
    const text = inline
      ? decode(url.slice(inline[0].length), inline[1] !== undefined)
      : skill.files.get(posix.join(posix.dirname(file), url))
    return text === undefined || text.length > MAX_MAP_CHARS ? undefined : new TraceMap(text)
  } catch {
    return undefined
  }
}

function decode(data: string, base64: boolean): string {
  return base64 ? Buffer.from(data, 'base64').toString() : decodeURIComponent(data)
}

// Relative to the package; an absolute path would show how the author's own machine is laid out.
function sourcePath(file: string, source: string): string {
  if (/^([a-z][a-z0-9+.-]*:|\/)/i.test(source)) return posix.basename(source)
  return posix.join(posix.dirname(file), source).replace(/^(\.\.\/)+/, '')
}
