import t from 'tap'
import { ToolError } from '#core/ports/tools.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { type PulseApp, pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'

/** Steps that a test lets go on: `blocked` says that one waits. */
function turnstile() {
  const waiting: { release: () => void; signal: AbortSignal }[] = []
  return {
    waiting,
    pass(signal: AbortSignal): Promise<{ ok: true }> {
      return new Promise((resolve, reject) => {
        waiting.push({ release: () => resolve({ ok: true }), signal })
        signal.addEventListener('abort', () => reject(new ToolError('SANDBOX_CANCELLED', 'cut off')), { once: true })
      })
    }
  }
}

const gate = turnstile()
let flaky = 0
const undone: string[] = []
const tools = hostTools({
  load: {
    run: ({ n }: { n: number }) => ({ rows: [1, 2, n] }),
    input: { type: 'object', properties: { n: { type: 'integer' } } }
  },
  sum: { run: ({ rows }: { rows: number[] }) => ({ total: rows.reduce((sum, row) => sum + row, 0) }) },
  noop: { run: () => ({}) },
  block: { run: (_input: object, call) => gate.pass(call.signal) },
  fail: {
    run: () => {
      throw new ToolError('SKILL_ERROR', 'boom at index.js:3', { retryable: true })
    }
  },
  flaky: {
    run: () => {
      flaky += 1
      if (flaky < 3) throw new ToolError('SANDBOX_KILLED', 'killed', { retryable: true })
      return { flaky }
    }
  },
  book: { effect: 'undo:unbook', run: (input: { what: string }) => ({ booked: input.what }) },
  unbook: {
    run: ({ input, output }: { input: { what: string }; output: { booked: string } }) => {
      if (input.what === 'stuck') throw new ToolError('SKILL_ERROR', 'cannot')
      undone.push(`${input.what}/${output.booked}`)
      return {}
    }
  },
  mail: { effect: 'irreversible', run: () => ({}) }
})

const step = (id: string, tool: string, input: object = {}, more: object = {}) => ({
  id,
  kind: 'tool',
  tool: `host.${tool}`,
  input,
  ...more
})
let app: PulseApp
t.before(async () => {
  app = await pulseApp(t, tools)
})
const moves = (session: { transitions: { from: string; to: string }[] }) =>
  session.transitions.map(({ from, to }) => `${from}>${to}`)

t.test('a session runs its steps in order, passes outputs on, and ends with its result', async (t) => {
  const tenant = await app.makeTenant()
  const { status, body } = await app.create(tenant, {
    name: 'add up',
    input: { n: 39 },
    steps: [
      step('load', 'load', { n: { $ref: 'input.n' } }),
      step('sum', 'sum', { rows: { $ref: 'steps.load.output.rows' } })
    ],
    gates: [
      { name: 'enough', after: 'load', check: { kind: 'expression', expression: 'size(steps.load.output.rows) == 3' } },
      { name: 'shape', check: { kind: 'schema', schema: { type: 'object', required: ['answer'] } } }
    ],
    output: { answer: { $ref: 'steps.sum.output.total' } }
  })
  t.equal(status, 202)
  t.equal(body.state, 'QUEUED')
  const session = await app.reaches(tenant, body.id, 'COMPLETE', 'FAILED')
  t.equal(session.state, 'COMPLETE', JSON.stringify(session.error))
  t.strictSame(session.result, { answer: 42 })
  t.equal(session.pct, 100)
  t.strictSame(moves(session), [
    'CREATED>QUEUED',
    'QUEUED>RUNNING',
    'RUNNING>CHECKPOINT',
    'CHECKPOINT>GATE_CHECK',
    'GATE_CHECK>RUNNING',
    'RUNNING>CHECKPOINT',
    'CHECKPOINT>GATE_CHECK',
    'GATE_CHECK>COMPLETE'
  ])
  t.match(session.steps, [
    { id: 'load', state: 'done', attempt: 1, output: { rows: [1, 2, 39] }, error: null },
    { id: 'sum', state: 'done', output: { total: 42 } }
  ])
  t.strictSame(session.gates, [
    { name: 'enough', verdict: 'passed', reason: null },
    { name: 'shape', verdict: 'passed', reason: null }
  ])
  t.strictSame(
    session.checkpoints.map((row: { step: string }) => row.step),
    ['load', 'sum']
  )
  t.ok(session.startedAt && session.endedAt)

  const read = async () =>
    (await app.app.inject({ url: `/v1/sessions/${body.id}/events`, headers: tenant.headers })).json()
  await until(async () => (await read()).data.length >= 11, 'the relay numbered its events')
  const events = await read()
  t.strictSame(
    events.data.map((event: { event: string }) => event.event),
    [
      'session.created',
      'session.started',
      'session.usage',
      'session.progress',
      'session.checkpoint',
      'session.gate.passed',
      'session.usage',
      'session.progress',
      'session.checkpoint',
      'session.gate.passed',
      'session.completed'
    ]
  )
  const seqs = events.data.map((event: { seq: number }) => event.seq)
  t.strictSame(seqs, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  t.strictSame(
    events.data.flatMap((event: { data: { pct?: number } }) => event.data.pct ?? []),
    [50, 100]
  )
  t.ok(tools.ended.includes(body.id), 'its isolates were given back')
})

t.test(
  'a step fails: the session fails with the code, the message and the step, later steps are skipped',
  async (t) => {
    const tenant = await app.makeTenant()
    const { body } = await app.create(tenant, { steps: [step('bad', 'fail'), step('after', 'noop')] })
    const session = await app.reaches(tenant, body.id, 'FAILED')
    t.strictSame(session.error, { code: 'SKILL_ERROR', message: 'boom at index.js:3', step: 'bad' })
    t.strictSame(
      session.steps.map((one: { state: string }) => one.state),
      ['failed', 'skipped']
    )
    t.equal(session.result, null)
  }
)

t.test('a step is tried again as often as its retry says, under one effect key', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    steps: [step('flaky', 'flaky', {}, { retry: { attempts: 3, backoffMs: 5 } })]
  })
  const session = await app.reaches(tenant, body.id, 'COMPLETE', 'FAILED')
  t.equal(session.state, 'COMPLETE')
  t.equal(session.steps[0].attempt, 3)
  const calls = tools.calls.filter((call) => call.sessionId === body.id)
  t.strictSame(
    calls.map((call) => call.attempt),
    [1, 2, 3]
  )
  t.equal(new Set(calls.map((call) => call.effectKey)).size, 1)
})

t.test('a running session pauses after its step, and resumes where it stood', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('one', 'block'), step('two', 'noop')] })
  await until(() => gate.waiting.length === 1, 'the step waits')
  const post = (command: string) =>
    app.app.inject({ method: 'POST', url: `/v1/sessions/${body.id}/${command}`, headers: tenant.headers })
  const pausing = post('pause')
  await until(
    async () => (await app.sql`select 1 from core.inbox where actor_id = ${body.id}`).length === 1,
    'the command waits'
  )
  gate.waiting.pop()?.release()
  t.equal((await pausing).statusCode, 200)
  const paused = await app.reaches(tenant, body.id, 'PAUSED')
  t.equal(paused.steps[0].state, 'done')
  t.equal(paused.steps[1].state, 'pending')
  const [slot] = await app.sql`select running, queued from core.slot where tenant_id = ${tenant.tenantId}`
  t.strictSame({ ...slot }, { running: 0, queued: 0 }, 'a paused session holds no slot')

  t.equal((await post('pause')).statusCode, 409, 'it is paused already')
  t.equal((await post('resume')).statusCode, 200)
  const done = await app.reaches(tenant, body.id, 'COMPLETE')
  t.equal(done.checkpoints.length, 2, 'no checkpoint is made twice')
  t.equal(tools.calls.filter((call) => call.sessionId === body.id).length, 2, 'no step ran twice')
  const late = await post('cancel')
  t.equal(late.statusCode, 409)
  t.match(late.json(), { code: 'PULSE_SESSION_CONFLICT', detail: /COMPLETE/ })
})

t.test('cancel cuts a running step off', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('one', 'block')] })
  await until(() => gate.waiting.length === 1, 'the step waits')
  const answer = await app.app.inject({
    method: 'POST',
    url: `/v1/sessions/${body.id}/cancel`,
    headers: tenant.headers
  })
  t.equal(answer.statusCode, 200)
  t.match(answer.json(), { state: 'FAILED', error: { code: 'PULSE_SESSION_CANCELLED' } })
  t.ok(gate.waiting.pop()?.signal.aborted)
  const [slot] = await app.sql`select running, queued from core.slot where tenant_id = ${tenant.tenantId}`
  t.strictSame({ ...slot }, { running: 0, queued: 0 })
})

t.test('a session created by hand waits for run', async (t) => {
  const tenant = await app.makeTenant()
  const { status, body } = await app.create(tenant, { start: 'manual', steps: [step('one', 'noop')] })
  t.equal(status, 201)
  t.equal(body.state, 'CREATED')
  t.equal(
    (await app.app.inject({ method: 'POST', url: `/v1/sessions/${body.id}/run`, headers: tenant.headers })).statusCode,
    200
  )
  t.equal((await app.reaches(tenant, body.id, 'COMPLETE')).state, 'COMPLETE')
})

t.test('a failing gate ends the session, pauses it, or rolls it back, as it says', async (t) => {
  const tenant = await app.makeTenant()
  const never = { kind: 'expression', expression: 'false' }
  const failing = await app.create(tenant, { steps: [step('one', 'noop')], gates: [{ name: 'no', check: never }] })
  const failed = await app.reaches(tenant, failing.body.id, 'FAILED')
  t.match(failed, {
    error: { code: 'PULSE_GATE_FAILED' },
    gates: [{ name: 'no', verdict: 'failed', reason: 'false is false' }]
  })

  const pausing = await app.create(tenant, {
    steps: [step('one', 'noop'), step('two', 'noop')],
    gates: [{ name: 'look', after: 'one', onFail: 'pause', check: never }]
  })
  await app.reaches(tenant, pausing.body.id, 'PAUSED')
  await app.app.inject({ method: 'POST', url: `/v1/sessions/${pausing.body.id}/resume`, headers: tenant.headers })
  const passed = await app.reaches(tenant, pausing.body.id, 'COMPLETE', 'FAILED')
  t.equal(passed.state, 'COMPLETE', 'whoever resumes has looked')

  undone.length = 0
  const rolling = await app.create(tenant, {
    steps: [step('a', 'book', { what: 'room' }), step('m', 'mail'), step('b', 'book', { what: 'car' })],
    gates: [{ name: 'no', onFail: 'rollback', check: never }]
  })
  const rolled = await app.reaches(tenant, rolling.body.id, 'ROLLED_BACK')
  t.strictSame(undone, ['car/car', 'room/room'], 'newest first')
  t.strictSame(
    rolled.steps.map((one: { state: string }) => one.state),
    ['undone', 'done', 'undone']
  )
  t.strictSame(moves(rolled).slice(-3), ['GATE_CHECK>FAILED', 'FAILED>ROLLBACK', 'ROLLBACK>ROLLED_BACK'])

  const stuck = await app.create(tenant, {
    steps: [step('a', 'book', { what: 'stuck' })],
    gates: [{ name: 'no', onFail: 'rollback', check: never }]
  })
  await until(async () => {
    const session = await app.reaches(tenant, stuck.body.id, 'FAILED', 'ROLLBACK', 'QUEUED', 'RUNNING')
    return session.state === 'FAILED' && session.endedAt
  }, 'the rollback failed')
  const left = await app.reaches(tenant, stuck.body.id, 'FAILED')
  t.match(left, { error: { code: 'PULSE_UNDO_FAILED', step: 'a' }, steps: [{ state: 'undo_failed' }] })
})

t.test('a pause does not wait for a backoff', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    steps: [step('bad', 'fail', {}, { retry: { attempts: 3, backoffMs: 600_000 } })]
  })
  await until(
    async () => (await app.reaches(tenant, body.id, 'RUNNING', 'QUEUED')).steps[0].state === 'waiting',
    'it backs off'
  )
  const answer = await app.app.inject({ method: 'POST', url: `/v1/sessions/${body.id}/pause`, headers: tenant.headers })
  t.match(answer.json(), { state: 'PAUSED', steps: [{ state: 'pending', attempt: 1 }] })
})

t.test('a session takes a bounded number of commands while it runs a step', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('one', 'block')] })
  await until(() => gate.waiting.length === 1, 'the step waits')
  await app.sql`
    insert into core.inbox (tenant_id, actor_id, id, kind, event, by)
    select ${tenant.tenantId}, ${body.id}, gen_random_uuid(), 'session', '{"type":"PAUSE"}', 'test' from generate_series(1, 20)`
  const answer = await app.app.inject({
    method: 'POST',
    url: `/v1/sessions/${body.id}/pause`,
    headers: tenant.headers
  })
  t.equal(answer.statusCode, 429)
  t.match(answer.json(), { code: 'ACTORS_INBOX_FULL', limit: 20 })
  gate.waiting.pop()?.release()
  await app.reaches(tenant, body.id, 'PAUSED', 'COMPLETE')
})

t.test('limits of time end a session: its own duration, and the deadline while it waits', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    start: 'manual',
    steps: [step('one', 'noop')],
    deadline: new Date(Date.now() + 300).toISOString()
  })
  const session = await app.reaches(tenant, body.id, 'FAILED')
  t.match(session, {
    error: { code: 'PULSE_DEADLINE_PASSED' },
    transitions: [{ from: 'CREATED', to: 'FAILED', cause: 'timer' }]
  })
})

t.test('retries do not outlast the session’s running time: the wait counts', async (t) => {
  const tenant = await app.makeTenant()
  const retry = { attempts: 5, backoffMs: 3_600_000 }
  const { body } = await app.create(tenant, {
    limits: { durationMs: 60_000 },
    steps: [step('bad', 'fail', {}, { retry })]
  })
  const session = await app.reaches(tenant, body.id, 'FAILED')
  t.match(session.error, { code: 'PULSE_DURATION_EXCEEDED', message: /60000 ms/, step: 'bad' })
})

t.test('a pause that lasts too long ends the session', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    steps: [step('one', 'noop'), step('two', 'noop')],
    limits: { pauseMs: 20 },
    gates: [{ name: 'look', after: 'one', onFail: 'pause', check: { kind: 'expression', expression: 'false' } }]
  })
  const session = await app.reaches(tenant, body.id, 'FAILED')
  t.match(session.error, { code: 'PULSE_PAUSE_EXPIRED' })
})

t.test('checkpoints at the end only leave no arrows between steps', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    checkpoints: { every: 'end' },
    steps: [step('a', 'noop'), step('b', 'noop')]
  })
  const session = await app.reaches(tenant, body.id, 'COMPLETE')
  t.equal(session.checkpoints.length, 1)
  t.strictSame(moves(session).slice(2), ['RUNNING>CHECKPOINT', 'CHECKPOINT>GATE_CHECK', 'GATE_CHECK>COMPLETE'])
})
