import { posix } from 'node:path'
import type { Import, SourceFile } from './scan.ts'

// The layer rules of the house (README.md, "who may import whom"). Each one is a sentence, and red on a planted breach.

export interface Violation {
  rule: keyof typeof rules
  path: string
  line: number
  found: string
}

export const rules = {
  'core-knows-no-room': 'core imports neither plugins, skills-registry nor config, and of the sandbox only types',
  'sandbox-stands-alone': 'sandbox imports nothing of ours',
  'cell-reaches-nothing': 'sandbox/cell imports nothing that reaches a network, a process or a database',
  'plugin-through-events': 'a plugin imports core and, of other plugins, events.ts only',
  'registry-imports': "skills-registry imports core and the sandbox's public files only",
  'public-surface-only':
    'clients and examples import only what is published (agentos/plugin, agentos/sandbox, packages)',
  'no-climbing': 'a relative import stays in its room; across rooms it is #room/...',
  'computed-import': 'a computed import() hides what is imported',
  environment: 'process.env is read in config/env.ts only',
  clock: 'the wall clock and timers are in core/clock.ts only',
  postgres: 'connections to Postgres are made in core/db only',
  redis: 'ioredis and its connections are in core/redis only: others get keys and channels of its making',
  'isolated-vm': 'isolated-vm is used in sandbox/cell only'
} as const

type Rule = keyof typeof rules

/** Everything in `files` that breaks a rule. */
export function violations(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) => [...importViolations(file), ...codeViolations(file)])
}

function isTest(path: string): boolean {
  return /^(test|bench)\//.test(path) || path.includes('/test/')
}

/** Where a relative import has to stay. */
function roomOf(path: string): string {
  const parts = path.split('/')
  const depth = { core: 2, plugins: 2, clients: 2, examples: 3 }[parts[0] ?? ''] ?? 1
  return parts.slice(0, Math.min(depth, parts.length - 1)).join('/')
}

/** Path from the root for files of ours, null for packages and node's own modules. */
function target(path: string, specifier: string): string | null {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(path), specifier)
  if (specifier.startsWith('#')) return posix.normalize(specifier.slice(1))
  return null
}

function importViolations(file: SourceFile): Violation[] {
  return file.imports.flatMap((one) => {
    const found = one.specifier ?? 'import(...)'
    return brokenBy(file.path, one).map((rule) => ({ rule, path: file.path, line: one.line, found }))
  })
}

function brokenBy(path: string, { specifier, clause, typeOnly }: Import): Rule[] {
  const top = path.split('/')[0] ?? ''
  if (specifier === null) {
    // The embedded server's package has the platform in its name.
    const free = isTest(path) || ['config', 'clients'].includes(top) || path === 'core/db/embedded-launch.ts'
    return free ? [] : ['computed-import']
  }
  const broken: Rule[] = []
  const to = target(path, specifier)
  if (to === null) {
    broken.push(...packageRules(path, specifier, clause, typeOnly))
  } else {
    const climbs = specifier.startsWith('.') && !`${to}/`.startsWith(`${roomOf(path)}/`)
    if (climbs && roomOf(path) !== '') broken.push('no-climbing')
    // Tests stand beside a room and arrange the world for it.
    if (!isTest(path)) broken.push(...layerRules(path, to, typeOnly))
  }
  return broken
}

function layerRules(path: string, to: string, typeOnly: boolean): Rule[] {
  const [top = '', room] = path.split('/')
  const [toTop = '', toRoom, toFile] = to.split('/')
  const inside = toTop === top
  const sandboxPublic = /^sandbox\/[^/]+\.ts$/.test(to)
  switch (top) {
    case 'core':
      return inside || (sandboxPublic && typeOnly) ? [] : ['core-knows-no-room']
    case 'sandbox':
      return inside ? [] : ['sandbox-stands-alone']
    case 'plugins': {
      const fine = toTop === 'core' || (inside && (toRoom === room || toFile === 'events.ts'))
      return fine ? [] : ['plugin-through-events']
    }
    case 'skills-registry':
      return inside || toTop === 'core' || sandboxPublic ? [] : ['registry-imports']
    case 'clients':
    case 'examples':
      return `${to}/`.startsWith(`${roomOf(path)}/`) ? [] : ['public-surface-only']
    default:
      return []
  }
}

const reachesOut =
  /^(node:)?(http2?|https|net|tls|dgram|dns|dns\/promises|child_process|cluster|inspector)$|^(undici|postgres|pg|pg-boss|ioredis|ws|fastify)$/

function packageRules(path: string, specifier: string, clause: string, typeOnly: boolean): Rule[] {
  const broken: Rule[] = []
  // The frame socket is an inherited descriptor; node wraps it in this class and nothing else of node:net is needed.
  const frameSocket = path === 'sandbox/cell/main.ts' && /^import \{ Socket \} from/.test(clause)
  if (path.startsWith('sandbox/cell/') && !typeOnly && reachesOut.test(specifier) && !frameSocket)
    broken.push('cell-reaches-nothing')
  if (typeOnly || isTest(path)) return broken
  if (specifier === 'postgres' && !path.startsWith('core/db/')) broken.push('postgres')
  if (specifier === 'ioredis' && !path.startsWith('core/redis/')) broken.push('redis')
  if (specifier === 'isolated-vm' && !path.startsWith('sandbox/cell/')) broken.push('isolated-vm')
  const timers = /^(node:)?timers(\/promises)?$/.test(specifier)
  if (timers && !ownClock(path)) broken.push('clock')
  const takesEnv = /\benv\b|^import \w+ from|\*/.test(clause)
  if (/^(node:)?process$/.test(specifier) && takesEnv && !ownEnvironment(path)) broken.push('environment')
  return broken
}

// The cell has no Clock to be given; clients and examples run elsewhere; tests use real time where they must.
function ownClock(path: string): boolean {
  return path === 'core/clock.ts' || /^(sandbox\/cell|clients|examples)\//.test(path) || isTest(path)
}

function ownEnvironment(path: string): boolean {
  // A cell's environment is empty; it only sets its time zone.
  return path === 'config/env.ts' || /^(sandbox\/cell|test\/support|clients|bench|examples\/clients)\//.test(path)
}

const uses: { rule: Rule; pattern: RegExp; allowed: (path: string) => boolean }[] = [
  {
    rule: 'environment',
    pattern: /\bprocess\s*(\.|\?\.|\[)\s*(env\b|"\d+"\s*\]\s*[.[])|\{[^{}]*\benv\b[^{}]*\}\s*=\s*process\b/g,
    allowed: ownEnvironment
  },
  {
    rule: 'clock',
    pattern:
      /(?<![.\w$])(setTimeout|setInterval)\b(?!\s*:)|\bDate\s*\.\s*now\b|\bnew\s+Date\s*(\(\s*\)|(?!\s*\())|\bperformance\s*\.\s*now\b|\bprocess\s*\.\s*hrtime\b|\bTemporal\s*\.\s*Now\b|\bAbortSignal\s*\.\s*timeout\b/g,
    allowed: ownClock
  },
  // A key that core/redis did not make: only a cast gives it the type (the ACL would refuse it at run time).
  {
    rule: 'redis',
    pattern: /\bas\s+RedisKey\b|\bnew\s+Redis\s*\(/g,
    allowed: (path) => path.startsWith('core/redis/') || isTest(path)
  },
  {
    rule: 'postgres',
    pattern: /(?<![.\w$])postgres\s*\(/g,
    allowed: (path) => path.startsWith('core/db/') || isTest(path)
  }
]

function codeViolations({ path, code }: SourceFile): Violation[] {
  return uses.flatMap(({ rule, pattern, allowed }) =>
    allowed(path)
      ? []
      : [...code.matchAll(pattern)].map((match) => ({
          rule,
          path,
          line: code.slice(0, match.index).split('\n').length,
          found: match[0].replace(/\s+/g, ' ')
        }))
  )
}
