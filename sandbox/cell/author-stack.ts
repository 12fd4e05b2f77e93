import type { GuestSkill } from './link.ts'
import { originalPosition } from './source-map.ts'

const FRAME = /^\s*at (?:(.*?) \()?skill:\/([^()]*?):(\d+):(\d+)\)?\s*$/
const MAX_FRAMES = 20
// What `pack` ends a file with that it made of src/*.ts: V8 calls it by that name, and its lines and columns are the same.
const OWN_NAME = /\n\/\/# sourceURL=skill:\/((?:[a-zA-Z0-9_][a-zA-Z0-9._-]*\/)*[a-zA-Z0-9_][a-zA-Z0-9._-]*)\s*$/
const MAX_NAME = 300

const ownNames = new WeakMap<GuestSkill, ReadonlySet<string>>()

function hasFile(skill: GuestSkill, name: string): boolean {
  if (skill.files.has(name)) return true
  let names = ownNames.get(skill)
  if (!names) {
    const found = [...skill.files.values()].map((text) => OWN_NAME.exec(text.slice(-MAX_NAME))?.[1] ?? '')
    names = new Set(found.filter((one) => one !== ''))
    ownNames.set(skill, names)
  }
  return names.has(name)
}

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
    if (!skill || !hasFile(skill, file)) continue
    const original = originalPosition(skill, file, Number(row), Number(column))
    const place = original ? `${original.source}:${original.line}:${original.column}` : `${file}:${row}:${column}`
    frames.push(name ? `at ${name} (${place})` : `at ${place}`)
    if (frames.length === MAX_FRAMES) break
  }
  return frames.join('\n')
}
