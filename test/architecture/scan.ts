import { readdir, readFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

export interface Import {
  /** null: the specifier is computed. */
  specifier: string | null
  /** The statement, with numbers in place of strings. */
  clause: string
  /** `import type`, `export type`: nothing of it is left at run time. */
  typeOnly: boolean
  line: number
}

export interface SourceFile {
  /** From the root, with `/`. */
  path: string
  imports: Import[]
  /** The source with comments and the contents of strings blanked: what stands here is code. */
  code: string
}

const skipped = new Set(['node_modules', '.git', '.tap', '.agentos', 'dist'])

/** Every .ts file below `root`, parsed as far as the rules need it. */
export async function scanTree(root: string): Promise<SourceFile[]> {
  const paths: string[] = []
  const walk = async (dir: string): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (entry.isDirectory() && !skipped.has(entry.name)) await walk(join(dir, entry.name))
      else if (entry.isFile() && /\.m?[tj]s$/.test(entry.name)) paths.push(join(dir, entry.name))
    }
  }
  await walk(root)
  return await Promise.all(
    paths.map(async (path) => scanSource(relative(root, path).split(sep).join('/'), await readFile(path, 'utf8')))
  )
}

export function scanSource(path: string, source: string): SourceFile {
  const { code, strings } = mask(source)
  const imports: Import[] = []
  const add = (match: RegExpExecArray, index: string | undefined, typeOnly: boolean) => {
    const specifier = index === undefined ? null : (strings[Number(index)] ?? null)
    imports.push({ specifier, clause: match[0], typeOnly, line: code.slice(0, match.index).split('\n').length })
  }
  // `import x from "0"`, `import "0"`, `export { y } from "0"`; strings are their numbers by now.
  for (const match of code.matchAll(/\b(import|export)\s+(type\s(?!\s*from\b))?(?:[^;"'`()]*?\bfrom\s*)?"(\d+)"/g)) {
    const named = /\{([^}]*)\}/.exec(match[0])?.[1]
    // `import { type A, type B }`: erased as well, but only under verbatimModuleSyntax's rule that it stays as `import {}`.
    add(match, match[3], match[2] !== undefined && (named === undefined || named.length > 0))
  }
  for (const match of code.matchAll(/(?<![.\w$])import\s*\(\s*(?:"(\d+)"\s*[,)])?/g)) {
    add(match, match[1], isType(code, match))
  }
  for (const match of code.matchAll(/(?<![.\w$])require\s*\(\s*"(\d+)"/g)) add(match, match[1], false)
  // Workers and child processes are started by URL.
  for (const match of code.matchAll(/\bnew\s+URL\s*\(\s*"(\d+)"\s*,\s*import\s*\.\s*meta/g)) {
    if (/\.m?[tj]s$/.test(strings[Number(match[1])] ?? '')) add(match, match[1], false)
  }
  return { path, imports, code }
}

// `let x: import("y").Z` is a type; in other places a type is taken for a use, which errs on the strict side.
function isType(code: string, match: RegExpExecArray): boolean {
  return /\b(typeof|let \w+\s*:|const \w+\s*:)\s*$/.test(code.slice(0, match.index))
}

/**
 * Blanks comments and regular expressions, and puts `"n"` (index into `strings`) where a string or a template without
 * holes stands; code inside `${}` stays code. Newlines are kept, so lines are right.
 */
export function mask(source: string): { code: string; strings: string[] } {
  const strings: string[] = []
  let code = ''
  let at = 0
  const newlines = (text: string) => text.replace(/[^\n]/g, '')
  const holes: number[] = [] // depth of braces at which an open template goes on
  let depth = 0

  const template = () => {
    let text = ''
    const start = at
    for (; at < source.length; at++) {
      const c = source[at]
      if (c === '\\') text += source[++at] ?? ''
      else if (c === '`') {
        at++
        code += `"${strings.push(text) - 1}"${newlines(source.slice(start, at))}`
        return
      } else if (c === '$' && source[at + 1] === '{') {
        at += 2
        holes.push(depth)
        code += ` + (${newlines(source.slice(start, at))}`
        return
      } else text += c
    }
  }

  while (at < source.length) {
    const rest = source.slice(at, at + 2)
    const c = rest[0] ?? ''
    if (rest === '//') {
      const end = source.indexOf('\n', at)
      at = end < 0 ? source.length : end
    } else if (rest === '/*') {
      const end = source.indexOf('*/', at + 2)
      const text = source.slice(at, end < 0 ? source.length : end + 2)
      code += ` ${newlines(text)}`
      at += text.length
    } else if (c === '"' || c === "'") {
      let text = ''
      for (at++; at < source.length && source[at] !== c && source[at] !== '\n'; at++) {
        text += source[at] === '\\' ? (source[++at] ?? '') : source[at]
      }
      at++
      code += `"${strings.push(text) - 1}"`
    } else if (c === '`') {
      at++
      template()
    } else if (c === '/' && startsRegex(code)) {
      at = endOfRegex(source, at)
      code += ' RegExp '
    } else {
      if (c === '{') depth++
      if (c === '}' && holes.at(-1) === depth) {
        holes.pop()
        at++
        code += ') '
        template()
        continue
      }
      if (c === '}') depth--
      code += c
      at++
    }
  }
  return { code, strings }
}

// A slash divides after a value and starts a regular expression after everything else.
function startsRegex(before: string): boolean {
  const tail = before.trimEnd()
  if (/\b(return|typeof|case|in|of|do|else|yield|await|void|delete)$/.test(tail)) return true
  return tail === '' || !/[\w$)\]}"]$/.test(tail)
}

function endOfRegex(source: string, start: number): number {
  let inClass = false
  let at = start + 1
  for (; at < source.length && source[at] !== '\n'; at++) {
    const c = source[at]
    if (c === '\\') at++
    else if (c === '[') inClass = true
    else if (c === ']') inClass = false
    else if (c === '/' && !inClass) break
  }
  at++
  while (/[a-z]/.test(source[at] ?? '')) at++
  return at
}
