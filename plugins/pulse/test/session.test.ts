import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'

t.test('a session runs its steps in order, passes outputs on, and ends with its result', async (t) => {
  const tools = hostTools({
    load: { run: ({ n }: { n: number }) => ({ rows: [1, 2, n] }) },
    sum: { run: ({ rows }: { rows: number[] }) => ({ total: rows.reduce((sum, row) => sum + row, 0) }) }
  })
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  const { status, body } = await app.create(tenant, {
    name: 'add up',
    input: { n: 39 },
    steps: [
      { id: 'load', kind: 'tool', tool: 'host.load', input: { n: { $ref: 'input.n' } } },
      { id: 'sum', kind: 'tool', tool: 'host.sum', input: { rows: { $ref: 'steps.load.output.rows' } } }
    ],
    gates: [
      { name: 'enough', after: 'load', check: { kind: 'expression', expression: 'size(steps.load.output.rows) == 3' } },
      { name: 'shape', check: { kind: 'schema', schema: { type: 'object', required: ['total'] } } }
    ],
    output: { answer: { $ref: 'steps.sum.output.total' } }
  })
  t.equal(status, 202)
  t.equal(body.state, 'QUEUED')
  const session = await app.reaches(tenant, body.id, 'COMPLETE', 'FAILED')
  t.equal(session.state, 'COMPLETE', JSON.stringify(session.error))
  t.strictSame(session.error, null)
})
