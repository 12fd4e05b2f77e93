import type { GuestSkill } from './link.ts'
import { originalPosition } from './source-map.ts'

const FRAME = /^\s*at (?:(.*?) \()?skill:\/([^()]*?):(\d+):(\d+)\)?\s*$/
const MAX_FRAMES = 20

/**
 * Keeps only the frames of the author's own files, as `at name (dist/index.js:3:7)` or, with a source map, where he wrote
 * it: no host path, no line of ours. The stack is text of the guest's, so files that are not in the package are lies.
 */
export function authorStack(stack: string, skill: GuestSkill | undefined): string {
  const frames: string[] = []
  for (const line of stack.split('\n')) {
    const found = FRAME.exec(line.slice(0, 500))
    if (!found) continue
    const [, name, file = '', row, column] = found
    if (!skill?.files.has(file)) continue
    const original = originalPosition(skill, file, Number(row), Number(column))
    const place = original ? `${original.source}:${original.line}:${original.column}` : `${file}:${row}:${column}`
    frames.push(name ? `at ${name} (${place})` : `at ${place}`)
    if (frames.length === MAX_FRAMES) break
  }
  return frames.join('\n')
}
