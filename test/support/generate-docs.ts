// Writes docs/errors.md and docs/events.md; `npm run docs`. A test fails when one is stale.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import '#config/plugins.ts'
import { type EventType, eventCatalogue, MAX_EVENT_BYTES } from '#core/events.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Declared {
  code: string
  status: number
  path: string
  about: string
}

const sources = () =>
  ['core', 'sandbox', 'skills-registry', 'plugins', 'config'].flatMap((room) => sourcesBelow(join(root, room)))

/** docs/errors.md: every defineError in the sources, by code. */
export function errorsDoc(): string {
  const declared = sources()
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

/** docs/events.md: every event that the configured rooms declare, by name. */
export function eventsDoc(): string {
  const texts = sources().map((file) => ({ path: pathOf(file), text: readFileSync(file, 'utf8') }))
  const rows = eventCatalogue().flatMap((event) => {
    const home = texts.find(({ text }) => text.includes(`defineEvent('${event.type}'`))
    if (!home) return [] // declared by a test, not by a room
    const stream = event.stream === 'platform' ? 'platform' : 'tenant'
    const place = `[${home.path}](../${home.path})`
    return [`| \`${event.type}\` | ${stream} | \`${event.subject}:<id>\` | ${fieldsOf(event)} | ${place} |`]
  })
  return `# Events

Made from the rooms' declarations by \`npm run docs\`. An event comes as \`{event, seq, tenantId, subject, at, data}\`
(docs/spec/wire.md); \`data\` is at most ${MAX_EVENT_BYTES / 1024} KiB. Those of the platform stream have no tenantId, a seq of their own and
\`"stream": "platform"\`. A field with ? may be absent.
Skills publish events of their own in the family \`custom\`, named after them (skills-registry/tools/README.md).

| event | stream | subject | data | declared in |
| --- | --- | --- | --- | --- |
${rows.join('\n')}
`
}

interface Shape {
  type?: string
  const?: unknown
  enum?: unknown[]
  format?: string
  items?: Shape
  properties?: Record<string, Shape>
  required?: string[]
}

function fieldsOf(event: EventType): string {
  const { properties = {}, required = [] } = z.toJSONSchema(event.data, { io: 'output' }) as Shape
  const fields = Object.entries(properties).map(([name, shape]) => {
    return `\`${name}${required.includes(name) ? '' : '?'}\` ${typeOf(shape)}`
  })
  return fields.join(', ')
}

function typeOf(shape: Shape): string {
  if (shape.const !== undefined) return JSON.stringify(shape.const)
  if (shape.enum) return shape.enum.map((value) => JSON.stringify(value)).join(' or ')
  if (shape.type === 'array') return `list of ${typeOf(shape.items ?? {})}`
  return shape.format ?? shape.type ?? 'any JSON'
}

function sourcesBelow(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/[\\/](test|bench|node_modules|dist)[\\/]/.test(path))
}

const pathOf = (file: string) => relative(root, file).replaceAll('\\', '/')

function declaredIn(file: string): Declared[] {
  const source = readFileSync(file, 'utf8')
  const path = pathOf(file)
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(join(root, 'docs/errors.md'), errorsDoc())
  writeFileSync(join(root, 'docs/events.md'), eventsDoc())
}
