import t from 'tap'
import { ToolError } from '#core/ports/tools.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { type PulseApp, pulseApp, type SessionAnswer } from '#test/support/pulse-app.ts'
import { secondHost } from '#test/support/second-host.ts'
import { until } from '#test/support/until.ts'

const waiting: { release: () => void }[] = []
const pause = (signal: AbortSignal) =>
  new Promise<object>((resolve, reject) => {
    waiting.push({ release: () => resolve({}) })
    signal.addEventListener('abort', () => reject(new ToolError('SANDBOX_CANCELLED', 'cut off')), { once: true })
  })
let tries = 0
const tools = hostTools({
  work: {
    usage: { cpuMs: 1.2345678, wallMs: 3, hostCalls: 2, tokens: 5 },
    run: (_input: object, call) => {
      call.onLog?.({ level: 'info', message: `at work in ${call.step}` })
      call.onLog?.({ level: 'warn', message: 'careful' })
      return {}
    }
  },
  flaky: {
    usage: { killed: true },
    run: () => {
      tries += 1
      if (tries < 3)
        throw new ToolError('SANDBOX_KILLED', 'killed', { retryable: true, details: { stack: 'at f (src/a.ts:3:7)' } })
      return {}
    }
  },
  lost: {
    run: () => {
      throw new ToolError('TOOL_OUTPUT_INVALID', 'output of host.lost/n: must be a number')
    }
  },
  burn: { usage: { cpuMs: 60 }, run: () => ({}) },
  book: { effect: 'undo:unbook', usage: { cpuMs: 2 }, run: () => ({}) },
  unbook: { usage: { cpuMs: 4 }, run: () => ({}) },
  wait: {
    run: async (_input: object, call) => {
      call.onLog?.({ level: 'info', message: `waiting, attempt ${call.attempt}` })
      call.onProgress?.(0.5, 'half')
      return await pause(call.signal)
    }
  }
})
const step = (id: string, tool: string, more: object = {}) => ({ id, kind: 'tool', tool: `host.${tool}`, ...more })

let app: PulseApp
let tenant: Awaited<ReturnType<PulseApp['makeTenant']>>
t.before(async () => {
  app = await pulseApp(t, tools)
  tenant = await app.makeTenant()
})
const get = async (url: string): Promise<SessionAnswer> =>
  (await app.app.inject({ url, headers: tenant.headers })).json()
const ends = async (config: object, state: string): Promise<SessionAnswer> => {
  const { body } = await app.create(tenant, config)
  return await app.reaches(tenant, body.id, state)
}
const events = async (id: string, type: string) =>
  (await app.sql`select data from core.event where subject = ${`session:${id}`} and type = ${type} order by id`).map(
    ({ data }) => data
  )
const notes = async (id: string) =>
  (await app.sql`select key from core.journal where actor_id = ${id} and starts_with(key, 'call:') order by at`).map(
    ({ key }) => key
  )

t.test(
  'what each attempt used is told once, with its outcome; its record is kept, and the sums are shown',
  async (t) => {
    const session = await ends(
      {
        steps: [
          step('one', 'work'),
          step('two', 'flaky', { retry: { attempts: 3, backoffMs: 1 } }),
          step('three', 'lost')
        ]
      },
      'FAILED'
    )
    const { id } = session
    const told = await events(id, 'session.usage')
    t.strictSame(
      told.map(({ step, attempt, outcome, killed, key }) => [step, attempt, outcome, killed, key]),
      [
        ['one', 1, 'done', false, `${id}/one#1`],
        ['two', 1, 'retried', true, `${id}/two#1`],
        ['two', 2, 'retried', true, `${id}/two#2`],
        ['two', 3, 'done', true, `${id}/two#3`],
        ['three', 1, 'failed', false, `${id}/three#1`]
      ]
    )
    t.match(told[0], { cpuMs: 1.235, wallMs: 3, hostCalls: 2, tokens: 5, calls: 1, skill: '@test/host', tool: 'work' })
    t.strictSame(
      await notes(id),
      told.map(({ key }) => `call:${key}`)
    )
    t.match(session.cost, { tokens: 5, cpuMs: 5.235, hostCalls: 2, microUsd: '0' })
  }
)

t.test(
  'the log says what tools said and why they failed, with codes; a page at a time, by step and level',
  async (t) => {
    tries = 0
    const { id } = await ends(
      {
        steps: [
          step('one', 'work'),
          step('two', 'flaky', { retry: { attempts: 3, backoffMs: 1 } }),
          step('three', 'lost')
        ]
      },
      'FAILED'
    )
    const all = await get(`/v1/sessions/${id}/logs`)
    t.strictSame(
      all.data.map(({ step, attempt, level, message }: SessionAnswer) => [step, attempt, level, message]),
      [
        ['one', 1, 'info', 'at work in one'],
        ['one', 1, 'warn', 'careful'],
        ['two', 1, 'error', 'SANDBOX_KILLED: killed\nat f (src/a.ts:3:7)\nattempt 1 of 3; the next one in 1 ms'],
        ['two', 2, 'error', 'SANDBOX_KILLED: killed\nat f (src/a.ts:3:7)\nattempt 2 of 3; the next one in 2 ms'],
        ['three', 1, 'error', 'TOOL_OUTPUT_INVALID: output of host.lost/n: must be a number']
      ]
    )
    t.equal(all.nextCursor, null)
    const pages: string[] = []
    for (let cursor = ''; ; ) {
      const page = await get(`/v1/sessions/${id}/logs?limit=2${cursor}`)
      pages.push(...page.data.map((line: SessionAnswer) => line.id))
      if (page.nextCursor === null) break
      cursor = `&cursor=${page.nextCursor}`
    }
    t.strictSame(
      pages,
      all.data.map((line: SessionAnswer) => line.id)
    )
    t.equal((await get(`/v1/sessions/${id}/logs?level=warn`)).data.length, 1)
    t.equal((await get(`/v1/sessions/${id}/logs?step=two`)).data.length, 2)
    t.match(await get(`/v1/sessions/${id}/logs?level=loud`), { status: 400 })
    t.match(await get(`/v1/sessions/${id.replace(/.{4}$/, '0000')}/logs`), { code: 'PULSE_SESSION_NOT_FOUND' })
  }
)

t.test('a session that used up its CPU time ends before its next step, and says so', async (t) => {
  const session = await ends({ limits: { cpuMs: 100 }, steps: ['a', 'b', 'c'].map((id) => step(id, 'burn')) }, 'FAILED')
  t.match(session.error, { code: 'PULSE_CPU_EXCEEDED', step: 'c' })
  t.strictSame(
    tools.calls.filter(({ sessionId }) => sessionId === session.id).map(({ left }) => left),
    [{ cpuMs: 100 }, { cpuMs: 40 }]
  )
})

t.test('what takes a step back is told, recorded and counted too', async (t) => {
  const gate = { name: 'no', onFail: 'rollback', check: { kind: 'expression', expression: 'false' } }
  const session = await ends({ steps: [step('a', 'book')], gates: [gate] }, 'ROLLED_BACK')
  const told = await events(session.id, 'session.usage')
  t.strictSame(
    told.map(({ outcome, key }) => [outcome, key]),
    [
      ['done', `${session.id}/a#1`],
      ['undone', `${session.id}/a/undo#1`]
    ]
  )
  t.equal(session.cost.cpuMs, 6)
  t.equal((await notes(session.id)).length, 2)
})

t.test(
  'an attempt that another host runs again says its lines once; the one that was cut off is told as such',
  async (t) => {
    const { body } = await app.create(tenant, { steps: [step('one', 'wait')] })
    await until(() => waiting.length === 1, 'the first host runs it')
    const lines = async () =>
      (await get(`/v1/sessions/${body.id}/logs`)).data.map((line: SessionAnswer) => line.message)
    await until(async () => (await lines()).length === 2, 'its lines are there while it runs')
    const other = secondHost(app)
    await app.sql`update pulse.session set lease_until = now() - interval '1 s' where id = ${body.id}`
    await other.actors.start()
    t.teardown(() => other.actors.stop(0))
    await until(() => waiting.length === 2, 'the second host runs it')
    await app.kernel.actors.stop(0)
    waiting.pop()?.release()
    await app.reaches(tenant, body.id, 'COMPLETE')
    t.strictSame(await lines(), ['waiting, attempt 1', 'half'])
    const told = await events(body.id, 'session.usage')
    const done = told.filter(({ outcome }) => outcome === 'done')
    t.equal(done.length, 1)
    for (const { outcome, key } of told)
      if (outcome !== 'done') t.strictSame([outcome, key], ['cut_off', `${body.id}/one#1/cut_off/1`])
    waiting.length = 0
    await app.kernel.actors.start()
  }
)

t.test('progress rises while a step runs, is shown, and is not announced of a step that is over', async (t) => {
  const { body } = await app.create(tenant, { steps: [step('one', 'wait'), step('two', 'work')] })
  await until(async () => (await events(body.id, 'session.progress')).length === 1, 'the first news')
  t.match(await get(`/v1/sessions/${body.id}`), { pct: 25, state: 'RUNNING' })
  waiting.pop()?.release()
  const session = await app.reaches(tenant, body.id, 'COMPLETE')
  t.equal(session.pct, 100)
  t.strictSame(
    (await events(body.id, 'session.progress')).map(({ step, pct }) => [step, pct]),
    [
      ['one', 25],
      ['one', 50],
      ['two', 100]
    ]
  )
})

t.test('a recording has every call, and says whether more will follow', async (t) => {
  const { id } = await ends({ steps: [step('one', 'work')] }, 'COMPLETE')
  const recording = await get(`/v1/sessions/${id}/recording`)
  t.match(recording, {
    format: 1,
    sessionId: id,
    complete: true,
    calls: [{ key: `${id}/one#1`, input: '{}', host: [] }]
  })
  const { body } = await app.create(tenant, { start: 'manual', steps: [step('one', 'work')] })
  t.match(await get(`/v1/sessions/${body.id}/recording`), { complete: false, calls: [] })
  await app.sql`
    insert into core.journal (tenant_id, actor_id, key, record, epoch)
    values (${tenant.tenantId}, ${body.id}, 'call:big', to_jsonb(repeat('x', 70000000)), 1)`
  t.match(await get(`/v1/sessions/${body.id}/recording`), { status: 413, code: 'TOOLS_RECORDING_TOO_LARGE' })
})

t.test('a call is told how many its tenant may have at once, by the plan of its session', async (t) => {
  const { id } = await ends({ steps: [step('one', 'work')] }, 'COMPLETE')
  t.match(
    tools.calls.find(({ sessionId }) => sessionId === id),
    { concurrency: 16, skills: [{ alias: 'host' }] }
  )
})

t.test('what a session may use is checked when it is created', async (t) => {
  const refused = await app.create(tenant, { limits: { cpuMs: 0, logBytes: 2 ** 30 }, steps: [step('one', 'work')] })
  t.match(refused.body, { status: 400, errors: [{ pointer: '/limits/cpuMs' }, { pointer: '/limits/logBytes' }] })
})
