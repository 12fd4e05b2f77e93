import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { secondHost } from '#test/support/second-host.ts'
import { until } from '#test/support/until.ts'

const step = (id: string, tool = 'host.block') => ({ id, kind: 'tool', tool })

/** A tool whose calls the test answers one by one. */
function blocking() {
  const open: { step: string; answer: (output?: object) => void; signal: AbortSignal }[] = []
  const tools = hostTools({
    noop: { run: () => ({}) },
    block: {
      run: (_input, call) =>
        new Promise((resolve, reject) => {
          open.push({ step: call.step, answer: (output = {}) => resolve(output), signal: call.signal })
          call.signal.addEventListener('abort', () => reject(new Error('cut off')), { once: true })
        })
    }
  })
  return { open, tools }
}

t.test(
  'a host that goes down hands its leases back, and another goes on at once without repeating what is recorded',
  async (t) => {
    const { open, tools } = blocking()
    const app = await pulseApp(t, tools)
    const tenant = await app.makeTenant()
    const { body } = await app.create(tenant, { steps: [step('a'), step('b')] })
    await until(() => open.length === 1, 'a runs')
    open.shift()?.answer()
    await until(() => open.length === 1, 'b runs')
    await app.kernel.actors.stop(0)
    t.ok(open.shift()?.signal.aborted, 'what still ran was cut off')
    const [row] = await app.sql`select state, lease_until::text as lease from pulse.session where id = ${body.id}`
    t.strictSame({ ...row }, { state: 'RUNNING', lease: '-infinity' })

    const other = secondHost(app)
    await other.actors.start()
    t.teardown(() => other.actors.stop(0))
    await until(() => open.length === 1, 'b runs again')
    t.equal(open[0]?.step, 'b')
    open.shift()?.answer()
    const session = await app.reaches(tenant, body.id, 'COMPLETE')
    t.equal(session.epoch, 2)
    t.strictSame(
      tools.calls.map((call) => call.step),
      ['a', 'b', 'b']
    )
    t.equal(new Set(tools.calls.filter((call) => call.step === 'b').map((call) => call.effectKey)).size, 1)
    t.equal(
      (await app.sql`select 1 from core.journal where actor_id = ${body.id}`).length,
      4,
      'outcome and record of each'
    )
  }
)

t.test('a host that lost its lease writes nothing more, whatever its effect still answers', async (t) => {
  const { open, tools } = blocking()
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('a')] })
  await until(() => open.length === 1, 'the first host runs a')
  const other = secondHost(app)
  await app.sql`update pulse.session set lease_until = now() - interval '1 s' where id = ${body.id}`
  await other.actors.start()
  t.teardown(() => other.actors.stop(0))
  await until(() => open.length === 2, 'the second host runs a')
  const [stale, fresh] = open
  stale?.answer({ from: 'stale' })
  await until(() => app.kernel.actors.activations().session === 0 || stale?.signal.aborted, 'the first host let go')
  t.equal((await app.sql`select 1 from core.journal where actor_id = ${body.id}`).length, 0)
  fresh?.answer({ from: 'fresh' })
  const session = await app.reaches(tenant, body.id, 'COMPLETE')
  t.strictSame(session.result, { from: 'fresh' })
  t.strictSame(
    session.transitions.map((move: { epoch: number }) => move.epoch),
    [0, 1, 2, 2, 2]
  )
})

t.test('of two resumes one wins, the other is told the state', async (t) => {
  const { tools } = blocking()
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, {
    steps: [step('a', 'host.noop'), step('b', 'host.noop')],
    gates: [{ name: 'look', after: 'a', onFail: 'pause', check: { kind: 'expression', expression: 'false' } }]
  })
  await app.reaches(tenant, body.id, 'PAUSED')
  await app.kernel.actors.stopClaiming() // so that the first one stays resumed and unstarted
  const resume = () =>
    app.app.inject({ method: 'POST', url: `/v1/sessions/${body.id}/resume`, headers: tenant.headers })
  const answers = await Promise.all([resume(), resume(), resume()])
  t.strictSame(answers.map((answer) => answer.statusCode).sort(), [200, 409, 409])
  t.match(await app.reaches(tenant, body.id, 'PAUSED'), { resumeQueued: true })
  const [slot] = await app.sql`select running, queued from core.slot where tenant_id = ${tenant.tenantId}`
  t.strictSame({ ...slot }, { running: 0, queued: 1 })
})

t.test('a command that comes as its session ends is answered with the state it ended in', async (t) => {
  const { open, tools } = blocking()
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  for (let round = 0; round < 20; round += 1) {
    const { body } = await app.create(tenant, { steps: [step('a')] })
    await until(() => open.length === 1, 'a runs')
    const pausing = app.app.inject({ method: 'POST', url: `/v1/sessions/${body.id}/pause`, headers: tenant.headers })
    open.shift()?.answer()
    const answer = await pausing
    const session = await app.reaches(tenant, body.id, 'COMPLETE', 'PAUSED')
    if (answer.statusCode === 200) t.equal(session.state, 'PAUSED')
    else t.match(answer.json(), { status: 409, state: 'COMPLETE' })
    const left = await app.sql`select 1 from core.inbox where actor_id = ${body.id} and outcome is null`
    t.equal(left.length, 0, 'no command is left unanswered')
  }
})

t.test('a database that cuts every connection during commits loses and doubles nothing', async (t) => {
  const tools = hostTools({ noop: { run: () => ({}) } })
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  const payload = { steps: [step('a', 'host.noop'), step('b', 'host.noop'), step('c', 'host.noop')] }
  // A client that is told 503 asks again with the same key: it cannot know whether the first one was admitted.
  const create = async (index: number) => {
    const headers = { ...tenant.headers, 'idempotency-key': `session-${index}` }
    await until(async () => {
      const answer = await app.app.inject({ method: 'POST', url: '/v1/sessions', headers, payload })
      if (![202, 409, 503].includes(answer.statusCode)) throw new Error(answer.body)
      return answer.statusCode === 202
    }, `session ${index} is admitted`)
  }
  for (let index = 0; index < 40; index += 1) {
    await create(index)
    if (index % 8 !== 7) continue
    await app.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and usename = 'agentos_app'`
  }
  await until(async () => {
    const [row] = await app.sql<{ n: number }[]>`select count(*)::int as n from pulse.session where state = 'COMPLETE'`
    return row?.n === 40
  }, 'every session that was admitted is complete')
  t.equal((await app.sql`select 1 from pulse.session`).length, 40)
  const [doubled] = await app.sql`
    select count(*)::int as n from (
      select actor_id from core.transition group by actor_id having count(*) <> 11 or max(n) <> 11
    ) wrong`
  t.equal(doubled?.n, 0, 'each has its eleven moves once')
  const [events] = await app.sql`
    select count(*)::int as wrong from (
      select subject from core.event where type = 'session.completed' group by subject having count(*) <> 1
    ) doubled`
  t.equal(events?.wrong, 0)
  const [slot] = await app.sql`select running, queued from core.slot where tenant_id = ${tenant.tenantId}`
  t.strictSame({ ...slot }, { running: 0, queued: 0 })
})
