import t from 'tap'
import { findRefs, parseRef, RefUnresolved, resolveRefs } from '../refs.ts'

const scope = {
  input: { a: { 'b-c': [10, 20] }, text: 'abc' },
  output: (step: string) => (step === 'load' ? { rows: [{ n: 1 }] } : undefined)
}

t.test('references are replaced wherever they stand, everything else stays', async (t) => {
  const value = { x: { $ref: 'input.a.b-c.1' }, list: [{ $ref: 'steps.load.output.rows' }, 7, null], s: '$ref' }
  t.strictSame(resolveRefs(value, scope), { x: 20, list: [[{ n: 1 }], 7, null], s: '$ref' })
  t.strictSame(resolveRefs({ $ref: 'input' }, scope), scope.input)
})

t.test('a path that leads nowhere is named, also where JavaScript has a property', async (t) => {
  for (const path of [
    'input.nope',
    'input.text.length',
    'input.a.constructor',
    'input.a.b-c.length',
    'input.a.b-c.2',
    'input.a.__proto__'
  ]) {
    t.throws(() => resolveRefs({ $ref: path }, scope), RefUnresolved, path)
  }
})

t.test('only the two forms are references', async (t) => {
  t.strictSame(parseRef('steps.load.output')?.path, [])
  for (const text of ['', 'input.', 'steps.load', 'steps.load.input.x', 'output', 'item.x', 'steps..output']) {
    t.equal(parseRef(text), null, text)
  }
  const { refs, problems } = findRefs(
    { 'a/b': [{ $ref: 'input.x' }], c: { $ref: 'nowhere' }, d: { $ref: 'input', e: 1 } },
    '/steps/0/input'
  )
  t.strictSame(
    refs.map((ref) => ref.pointer),
    ['/steps/0/input/a~1b/0']
  )
  t.strictSame(problems.map((problem) => problem.pointer).sort(), ['/steps/0/input/c', '/steps/0/input/d'])
})
