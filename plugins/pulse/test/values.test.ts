import t from 'tap'
import { ToolError } from '#core/ports/tools.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { type PulseApp, pulseApp } from '#test/support/pulse-app.ts'

// What steps give and say, however large or odd it is.
const SHOUTS = ['\u0000', '\ud800', '\u0001'.repeat(20_000), `${'x'.repeat(1999)}😀`]
const tools = hostTools({
  noop: { run: () => ({}) },
  shoutAt: {
    run: ({ index }: { index: number }) => {
      throw new ToolError('SKILL_ERROR', SHOUTS[index] ?? '')
    }
  },
  big: { run: () => ({ text: 'x'.repeat(200_000) }) },
  nul: { run: () => ({ text: 'a\u0000b' }) }
})

const step = (id: string, tool: string, input: object = {}) => ({ id, kind: 'tool', tool: `host.${tool}`, input })
let app: PulseApp
t.before(async () => {
  app = await pulseApp(t, tools)
})

t.test('a large output lies in the object store, and comes back whole', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    steps: [step('big', 'big'), step('sum', 'noop', { t: { $ref: 'steps.big.output.text' } })],
    output: { $ref: 'steps.big.output' }
  })
  const session = await app.reaches(tenant, body.id, 'COMPLETE')
  t.equal(session.result.text.length, 200_000)
  const call = tools.calls.find((one) => one.sessionId === body.id && one.step === 'sum')
  t.equal((call?.input as { t: string } | undefined)?.t.length, 200_000)
  const [row] =
    await app.sql`select record ->> 'outputRef' as ref from core.journal where actor_id = ${body.id} and key = 'step:big'`
  t.match(row?.ref, /^sha256:/)
})

t.test('an output that cannot be stored fails its step instead of hanging the session', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('nul', 'nul')] })
  const session = await app.reaches(tenant, body.id, 'FAILED')
  t.match(session.error, { code: 'PULSE_OUTPUT_UNSTORABLE', message: /\/text contains U\+0000/ })
})

t.test('whatever a tool says when it fails, the failure can be written and announced', async (t) => {
  const tenant = await app.makeTenant()
  for (const [index] of SHOUTS.entries()) {
    const { body } = await app.create(tenant, {
      input: { index },
      steps: [step('s', 'shoutAt', { index: { $ref: 'input.index' } })]
    })
    const session = await app.reaches(tenant, body.id, 'FAILED')
    t.equal(session.error.code, 'SKILL_ERROR')
    t.equal(session.epoch, 1, 'at the first go')
    t.ok(session.error.message.length <= 2000)
  }
})

t.test('references cannot blow a small config up', async (t) => {
  const tenant = await app.makeTenant()
  const text = 'x'.repeat(100_000)
  const many = Array.from({ length: 20 }, () => ({ $ref: 'input.text' }))
  const known = await app.create(tenant, { input: { text }, steps: [step('a', 'noop', { many })] })
  t.equal(known.status, 422)
  t.match(known.body, {
    code: 'PULSE_TOOL_INPUT_INVALID',
    errors: [{ pointer: '/steps/0/input', detail: /1048576 bytes/ }]
  })
  const later = Array.from({ length: 10 }, () => ({ $ref: 'steps.big.output.text' }))
  const { body } = await app.create(tenant, { steps: [step('big', 'big'), step('b', 'noop', { later })] })
  t.match((await app.reaches(tenant, body.id, 'FAILED')).error, { code: 'PULSE_INPUT_TOO_LARGE', step: 'b' })
  const result = await app.create(tenant, { steps: [step('big', 'big')], output: later })
  t.match((await app.reaches(tenant, result.body.id, 'FAILED')).error, { code: 'PULSE_RESULT_TOO_LARGE' })
})
