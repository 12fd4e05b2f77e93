// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the planted sources hold templates
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { rules, violations } from './rules.ts'
import { scanSource, scanTree } from './scan.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

t.test('the tree keeps the layer rules', async (t) => {
  const files = await scanTree(root)
  t.ok(files.length > 100)
  const found = violations(files).map(({ rule, path, line, found }) => `${path}:${line} ${found} (${rules[rule]})`)
  t.strictSame(found, [])
})

// One breach per rule and way of importing: [rule, path, source]
const planted: [keyof typeof rules, string, string][] = [
  ['core-knows-no-room', 'core/a/x.ts', `import { pulse } from '#plugins/pulse/index.ts'`],
  ['core-knows-no-room', 'core/x.ts', `export * from '#skills-registry/index.ts'`],
  ['core-knows-no-room', 'core/a/x.ts', `import type { Env } from '#config/env.ts'`],
  ['core-knows-no-room', 'core/a/x.ts', `import {\n  createSandbox\n} from '#sandbox/index.ts'`],
  ['core-knows-no-room', 'core/a/x.ts', `import type { Cell } from '#sandbox/cell/main.ts'`],
  ['sandbox-stands-alone', 'sandbox/x.ts', `import type { Clock } from '#core/clock.ts'`],
  ['sandbox-stands-alone', 'sandbox/supervisor/x.ts', `const x = await import('#core/clock.ts')`],
  ['cell-reaches-nothing', 'sandbox/cell/x.ts', `import http from 'node:http'`],
  ['cell-reaches-nothing', 'sandbox/cell/x.ts', `const { connect } = require("tls")`],
  ['plugin-through-events', 'plugins/a/x.ts', `import { insert } from '#plugins/b/store.ts'`],
  ['plugin-through-events', 'plugins/a/x.ts', `import { run } from '#sandbox/index.ts'`],
  ['plugin-through-events', 'plugins/a/x.ts', `/* hm */ import '#config/main.ts'`],
  ['registry-imports', 'skills-registry/x.ts', `import { pulse } from '#plugins/pulse/events.ts'`],
  ['registry-imports', 'skills-registry/x.ts', `import { frame } from '#sandbox/supervisor/frames.ts'`],
  ['public-surface-only', 'examples/plugins/hello/x.ts', `import type { Db } from '#core/db/index.ts'`],
  ['public-surface-only', 'clients/sdk/x.ts', `export { newId } from '../../core/ids.ts'`],
  ['no-climbing', 'plugins/a/x.ts', `import { errors } from '../../core/errors.ts'`],
  ['no-climbing', 'core/db/x.ts', `import { must } from '../must.ts'`],
  ['no-climbing', 'core/db/test/x.test.ts', `import { must } from '../../must.ts'`],
  ['computed-import', 'core/a/x.ts', 'const x = await import(`#plugins/${name}/index.ts`)'],
  ['environment', 'core/a/x.ts', 'const home = process.env.HOME'],
  ['environment', 'core/a/x.ts', 'const { env } = process'],
  ['environment', 'plugins/a/test/x.test.ts', 'process.env.X = "1"'],
  ['environment', 'core/a/x.ts', `import { env } from 'node:process'`],
  ['clock', 'plugins/a/x.ts', 'setTimeout(() => {}, 5)'],
  ['clock', 'sandbox/supervisor/x.ts', 'const now = Date.now()'],
  ['clock', 'core/a/x.ts', 'const text = `now: ${new Date().toISOString()}`'],
  ['clock', 'core/a/x.ts', `import { setTimeout as sleep } from 'node:timers/promises'`],
  ['postgres', 'plugins/a/x.ts', `import postgres from 'postgres'`],
  ['redis', 'core/queue/x.ts', 'const redis = new Redis(url)'],
  ['redis', 'core/http/x.ts', `import { Redis } from 'ioredis'`],
  ['redis', 'core/bus/x.ts', 'await redis.read(text as RedisKey)'],
  ['isolated-vm', 'sandbox/supervisor/x.ts', `import ivm from 'isolated-vm'`]
]

for (const [rule, path, source] of planted) {
  t.test(`a planted breach is found: ${rule} by ${source.split('\n').join(' ')} in ${path}`, async (t) => {
    const dir = t.testdir()
    await mkdir(join(dir, dirname(path)), { recursive: true })
    await writeFile(join(dir, path), `// first line\n${source}\n`)
    const found = violations(await scanTree(dir))
    t.ok(
      found.some((violation) => violation.rule === rule && violation.path === path && violation.line === 2),
      JSON.stringify(found)
    )
  })
}

t.test('each rule has a planted breach', async (t) => {
  t.strictSame([...new Set(planted.map(([rule]) => rule))].sort(), Object.keys(rules).sort())
})

t.test('what only looks like a breach is none', async (t) => {
  const fine: [string, string][] = [
    ['core/a/x.ts', `// import x from '#plugins/a/index.ts'\n/* process.env, setTimeout() */`],
    ['core/a/x.ts', `const text = "import x from '#plugins/a/index.ts'; process.env.X; Date.now()"`],
    ['core/a/x.ts', `const pattern = /import x from '#plugins\\/a'|Date.now\\(\\)/g`],
    ['core/a/x.ts', 'const text = `setTimeout(${clock.now() / 2}) / ${"x"} process.env`'],
    ['core/a/x.ts', `import type { SandboxApi } from '#sandbox/types.ts'`],
    ['core/a/x.ts', 'const at = new Date(clock.now()); this.setTimeout(5); clock.setTimeout(5)'],
    ['core/a/x.ts', `import type { Sql } from 'postgres'\nimport { must } from '#core/must.ts'\nimport './y.ts'`],
    ['plugins/a/x.ts', `import { Done } from '#plugins/b/events.ts'\nimport { x } from '#plugins/a/store.ts'`],
    ['skills-registry/x.ts', `import { Sandbox } from '#sandbox/index.ts'`],
    ['examples/plugins/hello/x.ts', `import { definePlugin } from 'agentos/plugin'\nimport './store.ts'`],
    [
      'plugins/a/test/x.test.ts',
      `import { testApp } from '#test/support/app.ts'\nimport { c } from '#config/plugins.ts'`
    ]
  ]
  for (const [path, source] of fine) t.strictSame(violations([scanSource(path, source)]), [], source)
})
