import t from 'tap'
import { authorStack } from '../cell/author-stack.ts'
import { call, outcome, sandbox } from './support.ts'

const CODE = 'export function run() {\n  throw new Error("mapped")\n}'
// Line 1 of the bundle is line 10 of src/tool.ts, line 2 is line 12; columns as they are.
const MAP = (source: string) =>
  JSON.stringify({ version: 3, file: 'index.js', sources: [source], names: [], mappings: 'AASA;AAEA' })
const inline = (map: string) =>
  `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}`

t.test('an error in a bundle with a map shows the line that its author wrote', async (t) => {
  const box = sandbox()
  t.teardown(() => box.close())
  for (const verified of [true, false]) {
    const { code, error } = await outcome(box, call(CODE + inline(MAP('../src/tool.ts')), { verified }))
    t.equal(code, 'SKILL_ERROR')
    t.equal(error?.details.stack, 'at run (src/tool.ts:12:1)')
  }
})

const stack =
  'Error: x\n    at run (skill:/dist/index.js:2:9)\n    at agentos:guest:4:1\n    at skill:/dist/other.js:1:2'
const skill = (index: string, more: Record<string, string> = {}) => ({
  digest: 'd',
  entry: 'dist/index.js',
  files: new Map(Object.entries({ 'dist/index.js': index, 'dist/other.js': '', ...more }))
})
const OTHER = 'at dist/other.js:1:2'

t.test('a map may be a file of the package beside the bundle', async (t) => {
  const beside = skill(`${CODE}\n//# sourceMappingURL=index.js.map\n`, { 'dist/index.js.map': MAP('../src/tool.ts') })
  t.equal(authorStack(stack, beside), `at run (src/tool.ts:12:1)\n${OTHER}`)
})

t.test('a map that is broken, missing, hostile or somewhere else leaves the bundle’s own lines', async (t) => {
  const plain = `at run (dist/index.js:2:9)\n${OTHER}`
  const cases = [
    CODE,
    `${CODE}\n//# sourceMappingURL=gone.js.map`,
    `${CODE}\n//# sourceMappingURL=/etc/passwd`,
    `${CODE}\n//# sourceMappingURL=https://example.com/x.map`,
    CODE + inline('no json'),
    CODE + inline('null'),
    CODE + inline('{"version":3,"sources":5,"mappings":{}}'),
    CODE + inline(`{"version":3,"sources":[],"names":[],"mappings":"${'A'.repeat(2 ** 21)}"}`),
    CODE + inline('{"version":3,"sections":[{"offset":{"line":0,"column":0},"map":{}}]}')
  ]
  for (const code of cases) t.equal(authorStack(stack, skill(code)), plain, code.slice(60, 140))
})

t.test('a map cannot show where the author lives, nor pretend to be a file of ours', async (t) => {
  const shown = (source: string) => authorStack(stack, skill(CODE + inline(MAP(source)))).split('\n')[0]
  t.equal(shown('/home/alice/secret-project/tool.ts'), 'at run (tool.ts:12:1)')
  t.equal(shown('file:///C:/Users/alice/tool.ts'), 'at run (tool.ts:12:1)')
  t.equal(shown('webpack://app/./src/tool.ts'), 'at run (tool.ts:12:1)')
  t.equal(shown('../../../../etc/passwd'), 'at run (etc/passwd:12:1)')
})

t.test('a stack that lies names no file that is not in the package', async (t) => {
  const lie =
    '    at root (skill:/etc/shadow:1:1)\n    at fs (/usr/lib/node.js:1:1)\n    at x (skill:/dist/index.js:NaN:1)'
  t.equal(authorStack(`${lie}\n${stack}`, skill(CODE)), `at run (dist/index.js:2:9)\n${OTHER}`)
  t.equal(authorStack(stack, undefined), '')
})

t.test(
  'a file that the packer made of TypeScript is called by its own name, and only by one inside the package',
  async (t) => {
    const shown = (name: string, frame = name) =>
      authorStack(`Error: x\n    at run (skill:/${frame}:2:9)`, skill(`${CODE}\n\n//# sourceURL=skill:/${name}\n`))
    t.equal(shown('src/index.ts'), 'at run (src/index.ts:2:9)')
    t.equal(shown('src/index.ts', 'src/other.ts'), '', 'no file says that it is this one')
    for (const name of [
      '../../etc/passwd',
      '/etc/passwd',
      'src/../../x',
      'src/a b.ts',
      `${'a'.repeat(400)}.ts`,
      '.env'
    ])
      t.equal(shown(name), '', name)
  }
)
