import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

t.test('files of a package may import each other in a circle, and each is evaluated once', async (t) => {
  const files = {
    'dist/index.js': `import { even, log } from './even.js'
      export { odd } from './odd.js'
      import * as self from './index.js'
      log.push('index'); export const run = (n) => [even(n), self.odd(n), log]`,
    'dist/even.js': `import { odd } from './odd.js'
      export const log = ['even']; export function even(n) { return n === 0 || odd(n - 1) }`,
    'dist/odd.js': `import { even } from './even.js'
      export function odd(n) { return n !== 0 && even(n - 1) }`
  }
  t.strictSame((await outcome(box, call(files, { input: '7' }))).output, [false, true, ['even', 'index']])
  const early = {
    'dist/index.js': "import { late } from './b.js'; export const soon = 1; export const run = () => late",
    'dist/b.js': "import { soon } from './index.js'; export const late = soon"
  }
  const { code, error } = await outcome(box, call(early))
  t.equal(code, 'SKILL_LOAD_FAILED')
  t.equal(error?.message, "Cannot access 'soon' before initialization")
  t.equal(error?.details.stack, 'at dist/b.js:1:56')
})

t.test('an import that cannot be is answered by what to do instead', async (t) => {
  const cases: [string, string][] = [
    ['./gone.js', 'dist/index.js imports dist/gone.js, which is not in the package'],
    ['./lib', 'dist/index.js imports dist/lib, which is not in the package; did you mean dist/lib.js?'],
    ['./lib.ts', 'dist/index.js imports dist/lib.ts, which is not in the package; did you mean dist/lib.js?'],
    ['./folder', 'dist/index.js imports dist/folder, which is not in the package; did you mean dist/folder/index.js?'],
    ['../../etc/passwd', 'dist/index.js imports ../etc/passwd, which is outside the package'],
    ['node:fs', 'dist/index.js imports node:fs: a skill has no Node modules, what it may do is in ctx'],
    [
      'lodash',
      'dist/index.js imports lodash: packages cannot be imported at run time, bundle them (only relative files of the package can be imported)'
    ],
    [
      'https://example.com/x.js',
      'dist/index.js imports https://example.com/x.js: only relative files of the package can be imported'
    ],
    ['/etc/passwd', 'dist/index.js imports /etc/passwd: only relative files of the package can be imported']
  ]
  for (const [specifier, message] of cases) {
    const files = {
      'dist/index.js': `import '${specifier}'; export const run = () => 1`,
      'dist/lib.js': '',
      'dist/folder/index.js': ''
    }
    const { code, error } = await outcome(box, call(files))
    t.equal(code, 'SKILL_LOAD_FAILED', specifier)
    t.equal(error?.message, message)
  }
  const later = await outcome(box, call('export const run = () => import("./x.js")'))
  t.equal(later.code, 'SKILL_ERROR', 'import() is not there: everything is linked before the first line runs')
})
