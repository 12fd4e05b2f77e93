// From the author's src/*.ts to the sandbox: what runs is what he wrote, and an error shows his own file and line.
import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { Sandbox, type SandboxError } from '#sandbox/index.ts'
import { packFolder } from '#skills-registry/package/pack.ts'
import { moduleSources } from '#skills-registry/package/read.ts'
import { compileSources } from '#skills-registry/package/typescript.ts'
import { skillFiles } from './support/packages.ts'

const compile = (files: Record<string, string>) =>
  Object.fromEntries(compileSources(new Map(Object.entries(files).map(([path, text]) => [`src/${path}`, text]))))
const text = (files: Map<string, Uint8Array>, path: string) => Buffer.from(files.get(path) ?? '').toString()

const index = `import type { Tool } from 'agentos/skill'
import { check, type Release } from './release/check.ts'
import './side.js'

export const echo: Tool<{ tag: string }, Release> = async (input) => {
  const release = check<Release>(input as Release)
  return release
}
`
const check = `export interface Release {
  tag: string
}

export function check<T extends Release>(release: T): T {
  if (!release.tag.startsWith('v')) throw new RangeError(\`\${release.tag} is no tag\`)
  return release
}
`
const base = skillFiles()
type Fixture = Extract<NonNullable<Parameters<Test['testdir']>[0]>, object>
const folderOf = (t: Test, src: Fixture, more: Fixture = {}) =>
  t.testdir({
    'skill.json': text(base, 'skill.json'),
    'SKILL.md': text(base, 'SKILL.md'),
    src,
    ...more
  })

t.test('a folder of src/*.ts is packed as dist/*.js, and throws at the author’s own line', async (t) => {
  const src = {
    'index.ts': index,
    'side.js': 'globalThis.side = 1\n',
    release: { 'check.ts': check, 'check.test.ts': 'broken(', 'types.d.ts': 'declare const x: 1', 'notes.md': 'mine' }
  }
  const packed = await packFolder(folderOf(t, src))
  t.strictSame(
    [...packed.package.files.keys()],
    ['SKILL.md', 'dist/index.js', 'dist/release/check.js', 'dist/side.js', 'skill.json']
  )
  t.notMatch(text(packed.package.files, 'dist/index.js'), /agentos|\.ts'|Release/)
  t.equal(
    (await packFolder(folderOf(t, src))).package.digest,
    packed.package.digest,
    'the same sources, the same bytes'
  )

  const sandbox = new Sandbox({ clock: systemClock })
  t.teardown(() => sandbox.close())
  const run = (input: unknown) =>
    sandbox.run({
      tenantId: 'a',
      sessionId: 's',
      skill: {
        digest: packed.package.digest,
        entry: 'dist/index.js',
        files: moduleSources(packed.package.files),
        verified: false
      },
      export: 'echo',
      input: JSON.stringify(input),
      limits: { cpuMs: 1000, wallMs: 5000, memoryMb: 64, hostCalls: 1 },
      session: { id: 's', tenantId: 'a', step: 'one', attempt: 1, effectKey: 'k' },
      time: 0,
      seed: 's',
      capabilities: []
    })
  t.equal((await run({ tag: 'v1' })).output, '{"tag":"v1"}')
  const error: SandboxError = await run({ tag: '1' }).catch((cause) => cause)
  t.equal(error.message, '1 is no tag')
  t.equal(error.details.stack, 'at check (src/release/check.ts:6:43)\nat echo (src/index.ts:6:19)')
})

t.test('lines and columns stay, imports are named as in dist/, and comments and strings are left alone', (t) => {
  const made = compile({
    'index.ts': `import { a } from "./a.ts"; export * from './b.js' // from './a.ts'\nexport { c } from './c.ts'; export const s: string = \`\nimport x from './a.ts'\n\` + a`,
    'a.ts': 'export const a = 1 as number',
    'b.js': 'export const b = 1',
    'c.ts': 'export const c = 1'
  })
  t.equal(
    made['dist/index.js'],
    `import { a } from "./a.js"; export * from './b.js' // from './a.ts'\nexport { c } from './c.js'; export const s         = \`\nimport x from './a.ts'\n\` + a\n\n//# sourceURL=skill:/src/index.ts\n`
  )
  t.strictSame(Object.keys(made), ['dist/index.js', 'dist/a.js', 'dist/b.js', 'dist/c.js'])
  t.end()
})

t.test('what cannot be packed names file, line and column, and what to write instead', (t) => {
  const bad: [string, string][] = [
    ['const a = 1\nconst b: = 2', 'src/index.ts:2:10: Unexpected token `=`.'],
    [
      'export const a = 1\n\n  enum Color { Red }',
      "src/index.ts:3:3: TypeScript enum is more than types: write `const Color = { Red: 'red' } as const` instead"
    ],
    [
      'class A {\n  constructor(private x: number) {}\n}',
      'src/index.ts:2:23: TypeScript parameter property is more than types: declare the field and assign it in the constructor'
    ],
    ['const a = 1\n\t enum Color {\n  Red\n}', 'src/index.ts:2:3: TypeScript enum'],
    ['namespace N { export const a = 1 }', 'src/index.ts:1:1: TypeScript namespace declaration is more than types'],
    [
      'let x = <number>1',
      "src/index.ts:1:9: The angle-bracket syntax for type assertions, `<T>expr`, is more than types. Instead, use the 'as' syntax"
    ],
    ['\n@sealed class A {}', 'src/index.ts:2:1: Unexpected character'],
    [
      "import fs from 'node:fs'",
      'src/index.ts:1:16: node:fs is not there: a skill has no Node modules, what it may do is in ctx'
    ],
    [
      "import { Tool } from 'agentos/skill'",
      'src/index.ts:1:22: agentos/skill cannot be imported at run time: bundle it into src/ (`import type` is free'
    ],
    ["export * from './gone.ts'", 'src/index.ts:1:15: ./gone.ts is not in src'],
    ["import '../secret.ts'", 'src/index.ts:1:8: ../secret.ts is not in src'],
    ["import './other'", 'src/index.ts:1:8: ./other is not in src/; did you mean ./other.ts?'],
    ["import data from './data.json' with { type: 'json' }", 'src/index.ts:1:18: ./data.json is not in src']
  ]
  for (const [source, message] of bad) {
    try {
      compile({ 'index.ts': source, 'other.ts': '' })
      t.fail(source)
    } catch (error) {
      t.match(error, { code: 'SKILLS_SOURCE_INVALID', path: 'src/index.ts', line: Number, column: Number })
      t.equal((error as Error).message.slice(0, message.length), message)
    }
  }
  t.throws(() => compile({ 'a.ts': '', 'a.js': '' }), { message: 'src/a.js:1:1: src/a.ts becomes dist/a.js, too' })
  t.end()
})

t.test('a folder with a dist/ is packed as its author built it', async (t) => {
  const built = folderOf(
    t,
    { 'index.ts': 'not ( even TypeScript' },
    { dist: { 'index.js': 'export const echo = (i) => i\n' } }
  )
  const packed = await packFolder(built)
  t.equal(text(packed.package.files, 'dist/index.js'), 'export const echo = (i) => i\n')
  t.notOk(packed.package.files.has('src/index.ts'))
  await t.rejects(packFolder(folderOf(t, { 'Index.ts': '' })), { code: 'SKILLS_PACKAGE_PATH' })
  await t.rejects(packFolder(folderOf(t, { 'index.ts': 'import {' })), { code: 'SKILLS_SOURCE_INVALID' })
  await t.rejects(packFolder(folderOf(t, { 'other.ts': '' })), { code: 'SKILLS_PACKAGE_FILE_MISSING' })
})
