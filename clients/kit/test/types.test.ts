// The types of the kit, by the compiler that an author runs: what it lets through, what it refuses, and that the names it
// knows are those of the real sandbox.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { Sandbox } from '#sandbox/index.ts'
import { packFolder } from '#skills-registry/package/pack.ts'
import { tsc, tscLibs } from '#test/support/tsc.ts'

const TSCONFIG = JSON.stringify({ extends: 'agentos/skill/tsconfig.json', include: ['src'] })

/** Lines with an error, by file, and everything that was said. */
async function check(t: Test, src: Record<string, string>) {
  // As `npm init` and `npm install` leave it: not a folder of this package, whose package.json says "module".
  const agentos = t.fixture('symlink', fileURLToPath(new URL('../../../', import.meta.url)))
  const own = { 'package.json': '{"type":"commonjs"}', node_modules: { agentos } }
  const folder = t.testdir({ ...own, 'tsconfig.json': TSCONFIG, src })
  const said = await tsc(folder)
  const lines = new Map<string, Set<number>>()
  for (const [, file = '', line] of said.matchAll(/src\/([\w.-]+)\((\d+),\d+\): error/g))
    lines.set(file, (lines.get(file) ?? new Set()).add(Number(line)))
  return { said, lines: (file: string) => [...(lines.get(file) ?? [])].sort((a, b) => a - b) }
}

const good = `
import type { CapabilityError, Context, Stored, Tool } from 'agentos/skill'
import { pick } from './pick.ts'
interface Input { repository: string; since?: string }
interface Output { tags: string[]; last: string | null; note?: string }
export const all: Tool<Input, Output> = async (input, ctx) => {
  const response = await ctx.fetch(new URL('https://api.example.com/x?q=1'), { method: 'POST', headers: { accept: 'a' }, body: new URLSearchParams({ q: input.repository }), signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(100)]) })
  if (!response.ok) throw new Error(\`\${response.status} \${response.headers.get('x') ?? ''}\`)
  const tags = await response.json<string[]>()
  const seen: Stored<string> | null = await ctx.storage.get<string>('last')
  try { await ctx.storage.set('last', tags[0] ?? null, { ifVersion: seen?.version ?? 0 }) }
  catch (error) { if ((error as CapabilityError).code !== 'STORAGE_CONFLICT') throw error }
  const bytes: Uint8Array = await ctx.files.readBytes('a'); await ctx.files.write('b', bytes); await ctx.files.append('b', 'text')
  const { text } = await ctx.model.run({ messages: [{ role: 'user', content: 'hi' }], maxTokens: 10 })
  const { event } = await ctx.events.publish('release.seen', { text }); ctx.log.info(event, ctx.secrets.length, ctx.session.effectKey)
  await ctx.tools.call<{ rows: number }>('csv.profile', { csv: '' }); ctx.progress(0.5, 'half'); console.log(new TextEncoder().encode('x').length, crypto.randomUUID(), structuredClone(tags), atob(btoa('x')))
  const wait = await new Promise<string>((resolve) => { const id = setTimeout(resolve, 5, 'x'); clearTimeout(id); queueMicrotask(() => resolve('y')) })
  const day = Temporal.Now.plainDateISO().toString(); const groups = Object.groupBy(tags, (tag) => tag[0] ?? ''); const has = new Set(tags).union(new Set([wait, day])); Promise.try(() => groups)
  return { tags: pick([...has].toSorted()), last: seen?.value ?? null }
}
export const plain: Tool<{ csv: string }, { rows: number }, never> = ({ csv }) => ({ rows: csv.length })
export const reader: Tool<unknown, unknown, 'storage:read' | 'log'> = async (_input, ctx) => (await ctx.storage.list({ prefix: 'a' })).keys
export async function helper(ctx: Context<'fetch' | 'files'>): Promise<void> { await ctx.files.delete((await ctx.fetch('https://a.example')).url) }
`.replace("| 'log'", '')
const pick = 'export const pick = (tags: readonly string[]): string[] => tags.slice(0, 3)'

// One error a line; the line above each says what is bad about it.
const bad = [
  "import type { Context, Tool } from 'agentos/skill'",
  'declare const ctx: Context',
  "declare const reading: Context<'storage:read' | 'fetch'>",
  '// --- below: each line is refused',
  'process.exit(1)',
  "require('node:fs')",
  "import 'node:fs'",
  "fetch('https://a.example')",
  'Buffer.from("x")',
  'document.title',
  'window.name',
  'setInterval(() => {}, 1)',
  'setImmediate(() => {})',
  'performance.now()',
  'new WeakRef({})',
  'new SharedArrayBuffer(1)',
  'new ArrayBuffer(8, { maxByteLength: 16 })',
  'WebAssembly.compile(new Uint8Array())',
  'new Response()',
  'new FormData()',
  'localStorage.x',
  'ctx.storage.put("a", 1)',
  'ctx.storage.set("a", undefined)',
  'ctx.storage.set("a", 1, { ifversion: 1 })',
  'ctx.fetch("https://a.example", { body: { a: 1 } })',
  'ctx.fetch("https://a.example", { redirect: "never" })',
  'ctx.storage = 1 as never',
  'ctx.secrets.push("x")',
  'ctx.session.id = "other"',
  'reading.storage.set("a", 1)',
  'reading.files.read("a")',
  'ctx.model.run({ text: "x" })',
  'ctx.files.write("a", 5)',
  'enum Color { Red }',
  'export const none: Tool<unknown, { a: number }> = async () => {}',
  'export const wrong: Tool<unknown, { a: number }> = () => ({ a: "x" })',
  'export const lost: Tool<unknown, { at: Date }> = () => ({ at: new Date() })',
  'export const forgot: Tool<unknown, { a: Promise<number> }> = () => ({ a: Promise.resolve(1) })',
  'export const big: Tool<unknown, { a: bigint }> = () => ({ a: 1n })',
  'export const missing: Tool<unknown, { a: number } | undefined> = () => undefined'
]

t.test('a good skill passes, and each line that the sandbox would refuse is an error', async (t) => {
  const { said, lines } = await check(t, { 'good.ts': good, 'pick.ts': pick, 'bad.ts': bad.join('\n') })
  t.strictSame(lines('good.ts'), [], said)
  t.strictSame(lines('pick.ts'), [])
  const from = bad.indexOf('// --- below: each line is refused') + 1
  const passed = bad.filter((_line, index) => index >= from && !lines('bad.ts').includes(index + 1))
  t.strictSame(passed, [])
  t.strictSame(
    lines('bad.ts').filter((line) => line <= from),
    []
  )
})

/** Every name that some library of TypeScript or this node has as a value. */
async function candidates(): Promise<string[]> {
  const libs = await tscLibs()
  const names = new Set([
    ...Object.getOwnPropertyNames(globalThis),
    'require',
    'module',
    'exports',
    '__dirname',
    '__filename'
  ])
  for (const file of await readdir(libs)) {
    if (!/^lib\..*\.d\.ts$/.test(file)) continue
    const text = await readFile(join(libs, file), 'utf8')
    for (const [, name = ''] of text.matchAll(/^declare (?:var|let|const|function|class|namespace) (\w+)/gm))
      names.add(name)
  }
  return [...names].filter((name) => /^[A-Za-z_$][\w$]*$/.test(name))
}

async function inSandbox(t: Test, source: string): Promise<unknown> {
  const sandbox = new Sandbox({ clock: systemClock })
  t.teardown(() => sandbox.close())
  const { output } = await sandbox.run({
    tenantId: 'a',
    sessionId: 's',
    skill: {
      digest: 'sha256:names',
      entry: 'dist/index.js',
      files: new Map([['dist/index.js', source]]),
      verified: true
    },
    export: 'run',
    input: 'null',
    limits: { cpuMs: 1000, wallMs: 10_000, memoryMb: 64, hostCalls: 1 },
    session: { id: 's', tenantId: 'a', step: 'one', attempt: 1, effectKey: 'k' },
    time: 0,
    seed: 's',
    capabilities: []
  })
  return JSON.parse(output)
}

t.test('the compiler knows the names that the sandbox has, and no other', async (t) => {
  const real = (await inSandbox(t, 'export const run = () => Object.getOwnPropertyNames(globalThis)')) as string[]
  const all = [...new Set([...real, ...(await candidates())])].sort()
  t.ok(all.length > 1000, 'the libraries were found')
  const { lines } = await check(t, { 'names.ts': all.map((name) => `void (${name})`).join('\n') })
  const unknown = new Set(lines('names.ts').map((line) => all[line - 1]))
  t.strictSame(
    all.filter((name) => !unknown.has(name)),
    [...real].sort()
  )
})

t.test('the members of what globals.d.ts declares are those of the sandbox', async (t) => {
  const text = await readFile(new URL('../globals.d.ts', import.meta.url), 'utf8')
  const declared: Record<string, string[]> = {}
  for (const [, name = '', body = ''] of text.matchAll(/^(?:declare class|interface) (\w+).*?\{\n([\s\S]*?)^\}/gm)) {
    const members = [...body.matchAll(/^ {2}(?:readonly |get )?(\w+)[(:<?]/gm)].map(([, member = '']) => member)
    declared[name] = members.filter((member) => !['constructor', 'private', 'static'].includes(member)).sort()
  }
  const names = Object.keys(declared)
  const found = await inSandbox(
    t,
    `const own = { Console: console, Crypto: crypto, AbortSignal: null, Event: null }
     export const run = () => Object.fromEntries(${JSON.stringify(names)}.map((name) => {
       const members = new Set(Reflect.ownKeys(own[name] ?? globalThis[name].prototype).filter((key) => typeof key === 'string' && key !== 'constructor'))
       if (name === 'AbortSignal') members.add('onabort')
       if (name === 'Event') members.add('target')
       return [name, [...members].sort()]
     }))`
  )
  t.strictSame(declared, found)
  t.ok(names.length >= 12)
})

t.test('the codes are those that the capabilities throw', async (t) => {
  const root = new URL('../../../', import.meta.url)
  const folder = new URL('skills-registry/tools/capabilities/', root)
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.ts'))
  const thrown = new Set<string>()
  for (const file of files) {
    const text = await readFile(new URL(file, folder), 'utf8')
    for (const [, code = ''] of text.matchAll(/new CapabilityError\(\s*'([A-Z_]+)'/g)) thrown.add(code)
  }
  const kit = await readFile(new URL('clients/kit/index.ts', root), 'utf8')
  const union = /export type ErrorCode =([\s\S]*?)\n\n/.exec(kit)?.[1] ?? ''
  const known = new Set([...union.matchAll(/'([A-Z_]+)'/g)].map(([, code = '']) => code))
  t.ok(thrown.size > 10)
  t.strictSame(
    [...thrown].filter((code) => !known.has(code)),
    []
  )
})

t.test('the skill of the README compiles and packs as it stands there', async (t) => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const block = (kind: string) => new RegExp(`\`\`\`${kind}\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1] ?? ''
  const code = block('ts')
  t.strictSame((await check(t, { 'index.ts': code })).said, '')
  const folder = t.testdir({ 'skill.json': block('json'), 'SKILL.md': block('md'), src: { 'index.ts': code } })
  const { manifest, files } = (await packFolder(folder)).package
  t.strictSame(Object.keys(manifest.tools), ['look'])
  t.ok(files.has('dist/index.js'))
})
