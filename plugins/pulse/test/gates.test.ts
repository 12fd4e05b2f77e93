import t from 'tap'
import { GateRefused, judge, readCheck } from '../gates.ts'

const scope = { input: { max: 3 }, steps: { load: { output: { rows: [1, 2], rate: 0.01 } } }, output: { total: 3 } }
const expression = (text: string) => ({ kind: 'expression' as const, expression: text })

t.test('expressions see input, steps and output', async (t) => {
  for (const text of [
    'steps.load.output.rate < 0.05',
    'size(steps.load.output.rows) <= input.max',
    'output.total == 3'
  ]) {
    t.equal(judge(expression(text), scope).verdict, 'passed', text)
  }
  t.match(judge(expression('output.total > 3'), scope), { verdict: 'failed', reason: /output.total > 3 is false/ })
})

t.test('what cannot be evaluated does not pass, and says why', async (t) => {
  t.match(judge(expression('steps.nope.output == 1'), scope), { verdict: 'error', reason: /nope/ })
  t.match(judge(expression('output.total + 0.5'), scope), { verdict: 'error', reason: /no boolean/ })
  t.match(judge(expression('output.constructor == 1'), scope), { verdict: 'error' })
})

t.test('schemas judge the output and say where it does not fit', async (t) => {
  const schema = { type: 'object', properties: { total: { type: 'integer', maximum: 2 } } }
  t.match(judge({ kind: 'schema', schema }, scope), { verdict: 'failed', reason: /\/total must be <= 2/ })
  t.equal(judge({ kind: 'schema', schema: { required: ['total'] } }, scope).verdict, 'passed')
})

t.test('checks that are wrong or could hang the server are refused when they are read', async (t) => {
  for (const text of ['1 +', 'input.s.matches("(a+)+$")', 'input.a.all(x, input.b.exists(y, x == y))']) {
    t.throws(() => readCheck(expression(text)), GateRefused, text)
  }
  t.throws(() => readCheck({ kind: 'schema', schema: { type: 'strange' } }), GateRefused)
  t.throws(() => readCheck({ kind: 'schema', schema: { $ref: 'https://example.com/x' } }), GateRefused)
})

t.test('a macro over more values than the main thread should look at is an error, size() is not', async (t) => {
  const large = { input: {}, steps: {}, output: { list: Array.from({ length: 6000 }, (_, index) => index) } }
  t.match(judge(expression('output.list.all(x, x >= 0)'), large), { verdict: 'error', reason: /5000/ })
  t.equal(judge(expression('size(output.list) == 6000'), large).verdict, 'passed')
})
