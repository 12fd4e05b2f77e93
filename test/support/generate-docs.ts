// Writes docs/errors.md from the sources; `npm run docs`. A test fails when it is stale.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Declared {
  code: string
  status: number
  path: string
  about: string
}

/** docs/errors.md: every defineError in the sources, by code. */
export function errorsDoc(): string {
  const declared = ['core', 'sandbox', 'skills-registry', 'plugins', 'config']
    .flatMap((room) => sourcesBelow(join(root, room)))
    .flatMap(declaredIn)
    .sort((a, b) => (a.code < b.code ? -1 : 1))
  const rows = declared.map(
    ({ code, status, path, about }) => `| \`${code}\` | ${status} | ${about} | [${path}](../${path}) |`
  )
  return `# Error codes

Made from the sources by \`npm run docs\`. A code never changes its meaning; the text may. On HTTP it is \`code\` of a
problem (application/problem+json), on the WebSocket \`error.code\`. The cause of a 5xx stays in the server's log.
\`…\` stands for what varies.

| code | status | text | declared in |
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

function sourcesBelow(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/[\\/](test|bench|node_modules|dist)[\\/]/.test(path))
}

function declaredIn(file: string): Declared[] {
  const source = readFileSync(file, 'utf8')
  const path = relative(root, file).replaceAll('\\', '/')
  return [...source.matchAll(/defineError(?:<[^(]*>)?\(\s*'([A-Z0-9_]+)',\s*(\d{3}),/g)].map((match) => {
    const rest = source.slice(match.index + match[0].length)
    const end = rest.indexOf('defineError')
    return {
      code: match[1] ?? '',
      status: Number(match[2]),
      path,
      about: messageIn(end < 0 ? rest : rest.slice(0, end))
    }
  })
}

// The first text of the message function, long texts that are added up with + included.
function messageIn(text: string): string {
  const body = text.slice(Math.max(0, text.indexOf('=>')))
  const hole = /\$\{(?:[^{}`]|`[^`]*`|\{[^{}]*\})*\}/
  const literal = new RegExp(`(?:'(?:[^'\\\\\\n]|\\\\.)*'|\`(?:[^\`\\\\$]|\\\\.|\\$(?!\\{)|${hole.source})*\`)`)
  const joined = new RegExp(`${literal.source}(?:\\s*\\+\\s*${literal.source})*`).exec(body)
  // What stands after the statement belongs to somebody else.
  if (!joined || joined.index > 200) return ''
  const pieces = joined[0].match(new RegExp(literal.source, 'g')) ?? []
  return pieces
    .map((piece) => piece.slice(1, -1))
    .join('')
    .replace(new RegExp(hole.source, 'g'), '…')
    .replaceAll('\\n', ' ')
    .replace(/\\(.)/g, '$1')
    .replaceAll('|', '\\|')
    .replace(/\s+/g, ' ')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(root, 'docs/errors.md'), errorsDoc())
