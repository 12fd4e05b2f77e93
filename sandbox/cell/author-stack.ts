const FRAME = /^\s*at (?:(.*?) \()?skill:\/([^()]*?)\)?\s*$/
const MAX_FRAMES = 20

/** Keeps only the frames of the author's own files, as `at name (dist/index.js:3:7)`: no host path, no line of ours. */
export function authorStack(stack: string): string {
  const frames: string[] = []
  for (const line of stack.split('\n')) {
    const found = FRAME.exec(line.slice(0, 500))
    if (found) frames.push(found[1] ? `at ${found[1]} (${found[2]})` : `at ${found[2]}`)
    if (frames.length === MAX_FRAMES) break
  }
  return frames.join('\n')
}
