// src/ of a folder becomes dist/ of its package: types out, everything else where it stood, so a line of an error is the
// author's. Pure; the same sources give the same bytes.
import { stripTypeScriptTypes } from 'node:module'
import { posix } from 'node:path'
import { type Program, parse } from 'acorn'

/** A source that cannot be packed: `src/index.ts:3:14: what is wrong and what to do`. Lines and columns from 1. */
export class SourceError extends Error {
  readonly code = 'SKILLS_SOURCE_INVALID'
  readonly path: string
  readonly line: number
  readonly column: number

  constructor(path: string, at: { line: number; column: number }, message: string, cause?: unknown) {
    super(`${path}:${at.line}:${at.column}: ${message}`, cause === undefined ? undefined : { cause })
    this.name = 'SourceError'
    this.path = path
    this.line = at.line
    this.column = at.column
  }
}

/** Whether a file of src/ goes into dist/: .ts and .js, without declarations and tests. */
export function isSource(path: string): boolean {
  return /\.(ts|js)$/.test(path) && !/\.(d|test|spec)\.(ts|js)$/.test(path)
}

/**
 * `src/a/b.ts` -> `dist/a/b.js`, its types replaced by spaces and its imports of `./c.ts` by `./c.js`. Each file ends
 * with a sourceURL, by which the sandbox names it in stacks.
 * @throws SourceError for a syntax error, for TypeScript that is more than types, for an import that is not in src/
 */
export function compileSources(sources: ReadonlyMap<string, string>): Map<string, string> {
  const made = new Map<string, string>()
  const from = new Map<string, string>()
  for (const path of sources.keys()) {
    const to = target(path)
    const twin = from.get(to)
    if (twin !== undefined) throw new SourceError(path, { line: 1, column: 1 }, `${twin} becomes ${to}, too`)
    from.set(to, path)
  }
  for (const [path, text] of sources) {
    const script = path.endsWith('.ts') ? strip(path, text) : text
    const linked = relink(path, script, new Set(from.keys()))
    made.set(target(path), `${linked}\n\n//# sourceURL=skill:/${path}\n`)
  }
  return made
}

function target(path: string): string {
  return path.replace(/^src\//, 'dist/').replace(/\.ts$/, '.js')
}

const INSTEAD: [RegExp, string][] = [
  [/enum/, "write `const Color = { Red: 'red' } as const` instead"],
  [/parameter property/, 'declare the field and assign it in the constructor'],
  [/namespace|module/, 'export from a file of its own instead'],
  [/import equals|export assignment/, "write `import ... from './file.ts'` and `export`"]
]

function strip(path: string, text: string): string {
  // It warns that it is experimental, on the stderr of a program that runs on type stripping anyway.
  const { emitWarning } = process
  process.emitWarning = () => undefined
  try {
    return stripTypeScriptTypes(text, { mode: 'strip' })
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
    const advice = INSTEAD.find(([what]) => what.test(cause.message))?.[1]
    const message = cause.message.replace(/ is not supported in (strip-only|type strip) mode/, ' is more than types')
    throw new SourceError(path, placeOf(text, cause), advice ? `${message}: ${advice}` : message, cause)
  } finally {
    process.emitWarning = emitWarning
  }
}

// node's stack begins `<file>:<line>\n<source line or lines>\n<carets>`; the carets stand where the error is. There are
// none where it is longer than a line: then it is the line's first word.
function placeOf(text: string, error: SyntaxError): { line: number; column: number } {
  const [head = '', ...rest] = (error.stack ?? '').split('\n')
  const line = Number(/:(\d+)$/.exec(head)?.[1] ?? 1)
  const source = text.split('\n')[line - 1] ?? ''
  const carets = rest.slice(0, 20).find((shown) => /^\s*\^+\s*$/.test(shown))
  if (carets === undefined) return { line, column: source.search(/\S|$/) + 1 }
  let left = carets.indexOf('^')
  let column = 1
  // A tab is shown as four spaces.
  for (const char of source) {
    left -= char === '\t' ? 4 : char.length
    if (left < 0) break
    column += char.length
  }
  return { line, column }
}

/** Checks what is imported, and names it as it is called in dist/. */
function relink(path: string, script: string, present: ReadonlySet<string>): string {
  let linked = ''
  let at = 0
  for (const node of parseModule(path, script).body) {
    if (!('source' in node) || !node.source?.loc) continue
    const { value, start, end, loc } = node.source
    const specifier = String(value)
    const place = { line: loc.start.line, column: loc.start.column + 1 }
    const file = posix.join(posix.dirname(path), specifier)
    if (!/^\.\.?\//.test(specifier)) throw new SourceError(path, place, `${specifier} ${outside(specifier)}`)
    if (!present.has(target(file))) {
      const meant = ['.ts', '.js', '/index.ts', '/index.js'].find((more) => present.has(target(file + more)))
      throw new SourceError(
        path,
        place,
        `${specifier} is not in src/${meant === undefined ? '' : `; did you mean ${specifier}${meant}?`}`
      )
    }
    // As long as before, so that the columns behind it stay.
    linked += script.slice(at, start) + script.slice(start, end).replace(/\.ts(?=['"]$)/, '.js')
    at = end
  }
  return linked + script.slice(at)
}

function parseModule(path: string, script: string): Program {
  try {
    return parse(script, { ecmaVersion: 'latest', sourceType: 'module', locations: true })
  } catch (cause) {
    const { loc, message } = cause as SyntaxError & { loc?: { line: number; column: number } }
    if (!loc) throw cause
    const place = { line: loc.line, column: loc.column + 1 }
    throw new SourceError(path, place, message.replace(/ \(\d+:\d+\)$/, ''), cause)
  }
}

function outside(specifier: string): string {
  if (specifier.startsWith('node:')) return 'is not there: a skill has no Node modules, what it may do is in ctx'
  return 'cannot be imported at run time: bundle it into src/ (`import type` is free, it is gone when packed)'
}
