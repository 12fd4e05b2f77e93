import t from 'tap'
import WebSocket from 'ws'
import { hostTools } from '#test/support/host-tools.ts'
import { type PulseApp, pulseApp } from '#test/support/pulse-app.ts'

const tools = hostTools({
  noop: { run: () => ({ ok: true }) },
  typed: { input: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }, run: () => ({}) }
})
const step = (id: string, input: object = {}, tool = 'host.noop') => ({ id, kind: 'tool', tool, input })
let app: PulseApp
t.before(async () => {
  app = await pulseApp(t, tools)
})
const rows = async () => {
  const [count] = await app.sql`
    select (select count(*) from pulse.session) + (select count(*) from core.event) + (select count(*) from core.transition)
      + (select coalesce(sum(queued), 0) from core.slot) as n`
  return Number(count?.n)
}

t.test('a config that cannot run is refused with its code and place, and leaves no row', async (t) => {
  const tenant = await app.makeTenant()
  const cases: [string, object, number, string, string][] = [
    ['unknown key', { steps: [step('a')], color: 'red' }, 400, 'REQUEST_INVALID', '/color'],
    ['no steps', { steps: [] }, 400, 'REQUEST_INVALID', '/steps'],
    ['unknown step kind', { steps: [{ id: 'a', kind: 'magic' }] }, 400, 'REQUEST_INVALID', '/steps/0/kind'],
    [
      'unknown step',
      { steps: [step('a', { x: { $ref: 'steps.zz.output' } })] },
      422,
      'PULSE_REF_UNKNOWN',
      '/steps/0/input/x'
    ],
    [
      'circle',
      { steps: [step('a', { x: { $ref: 'steps.b.output' } }), step('b', { x: { $ref: 'steps.a.output' } })] },
      422,
      'PULSE_REF_CYCLE',
      '/steps/0/input/x'
    ],
    ['itself', { steps: [step('a', { x: { $ref: 'steps.a.output' } })] }, 422, 'PULSE_REF_CYCLE', '/steps/0/input/x'],
    [
      'missing input',
      { steps: [step('a', { x: { $ref: 'input.nope' } })] },
      422,
      'PULSE_REF_UNKNOWN',
      '/steps/0/input'
    ],
    ['unknown tool', { steps: [step('a', {}, 'host.nope')] }, 422, 'PULSE_TOOL_UNKNOWN', '/steps/0/tool'],
    [
      'wrong tool input',
      { steps: [step('a', { n: 'x' }, 'host.typed')] },
      422,
      'PULSE_TOOL_INPUT_INVALID',
      '/steps/0/input/n'
    ],
    ['two steps of one name', { steps: [step('a'), step('a')] }, 422, 'PULSE_STEP_INVALID', '/steps/1/id'],
    [
      'deadline in the past',
      { steps: [step('a')], deadline: '2020-01-01T00:00:00Z' },
      422,
      'PULSE_LIMIT_EXCEEDED',
      '/deadline'
    ],
    [
      'gate after nothing',
      { steps: [step('a')], gates: [{ name: 'g', after: 'zz', check: { kind: 'expression', expression: 'true' } }] },
      422,
      'PULSE_GATE_INVALID',
      '/gates/0/after'
    ],
    [
      'gate with a typing error',
      { steps: [step('a')], gates: [{ name: 'g', check: { kind: 'expression', expression: '1 +' } }] },
      422,
      'PULSE_GATE_INVALID',
      '/gates/0/check/expression'
    ],
    [
      'too many steps',
      { steps: [step('a'), step('b')], limits: { steps: 1 } },
      422,
      'PULSE_LIMIT_EXCEEDED',
      '/limits/steps'
    ],
    ['unstorable', { steps: [step('a')], input: { text: 'a\u0000' } }, 400, 'REQUEST_INVALID', '/input/text']
  ]
  const before = await rows()
  for (const [what, config, status, code, pointer] of cases) {
    const answer = await app.create(tenant, config)
    t.equal(answer.status, status, `${what}: ${JSON.stringify(answer.body)}`)
    t.equal(answer.body.code, code, what)
    t.ok(
      answer.body.errors?.some((one: { pointer: string }) => one.pointer === pointer),
      `${what} names ${pointer}: ${JSON.stringify(answer.body.errors)}`
    )
  }
  t.equal(await rows(), before)
})

t.test('the same Idempotency-Key gives the first answer and one session', async (t) => {
  const tenant = await app.makeTenant()
  const post = (payload: object) =>
    app.app.inject({
      method: 'POST',
      url: '/v1/sessions',
      headers: { ...tenant.headers, 'idempotency-key': 'k1' },
      payload
    })
  const first = await post({ steps: [step('a')] })
  const second = await post({ steps: [step('a')] })
  t.equal(first.statusCode, 202)
  t.equal(first.headers.location, `/v1/sessions/${first.json().id}`)
  t.equal(second.headers['idempotency-replayed'], 'true')
  t.strictSame(second.json(), first.json())
  t.equal((await post({ steps: [step('b')] })).statusCode, 422)
  const list = (await app.app.inject({ url: '/v1/sessions', headers: tenant.headers })).json()
  t.equal(list.data.length, 1)
})

t.test('another tenant’s session looks exactly like one that does not exist', async (t) => {
  const [mine, other] = [await app.makeTenant(), await app.makeTenant()]
  const { body } = await app.create(mine, { steps: [step('a')] })
  const absent = '01890000-0000-7000-8000-000000000000'
  for (const path of ['', '/events', '/pause', '/resume', '/cancel', '/run']) {
    const method = path === '' || path === '/events' ? 'GET' : 'POST'
    const ask = async (id: string) => {
      const answer = await app.app.inject({ method, url: `/v1/sessions/${id}${path}`, headers: other.headers })
      const { requestId: _requestId, detail, ...problem } = answer.json()
      return { status: answer.statusCode, ...problem, detail: String(detail).replace(id, '<id>') }
    }
    t.strictSame(await ask(body.id), await ask(absent), path)
    t.equal((await ask(absent)).status, 404)
  }
  t.strictSame((await app.app.inject({ url: '/v1/sessions', headers: other.headers })).json().data, [])
})

t.test('a filter of the list that no row can have is 400, never 500', async (t) => {
  const { headers } = await app.makeTenant()
  const asked = ['name=a%00', 'agent=%00', 'state=LOST', 'createdAfter=0000-01-01T00:00:00Z', 'createdAfter=x%00']
  for (const query of asked) {
    const answer = await app.app.inject({ url: `/v1/sessions?${query}`, headers })
    t.match(answer.json(), { status: 400, code: 'REQUEST_INVALID', errors: [{ in: 'query' }] }, query)
  }
})

t.test('the list is newest first, is paged without loss, and filters', async (t) => {
  const tenant = await app.makeTenant()
  const ids: string[] = []
  for (let index = 0; index < 5; index += 1)
    ids.push((await app.create(tenant, { name: `n${index % 2}`, steps: [step('a')] })).body.id)
  for (const id of ids) await app.reaches(tenant, id, 'COMPLETE')
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const url: string = `/v1/sessions?limit=2${cursor ? `&cursor=${cursor}` : ''}`
    const page: { data: { id: string }[]; nextCursor: string | null } = (
      await app.app.inject({ url, headers: tenant.headers })
    ).json()
    seen.push(...page.data.map((one) => one.id))
    cursor = page.nextCursor
  } while (cursor)
  t.strictSame(seen, [...ids].reverse())
  const filtered = async (query: string) =>
    (await app.app.inject({ url: `/v1/sessions?${query}`, headers: tenant.headers })).json()
  t.equal((await filtered('name=n1')).data.length, 2)
  t.equal((await filtered('state=COMPLETE')).data.length, 5)
  t.equal((await filtered('state=QUEUED')).data.length, 0)
  t.equal((await filtered('state=DONE')).status, 400)
  t.equal((await filtered('cursor=abc')).status, 400)
})

t.test('a tenant over its queue cap is told so, and nothing is left of the session', async (t) => {
  const tenant = await app.makeTenant({ plan: 'free' })
  await app.create(tenant, { start: 'manual', steps: [step('a')] })
  await app.sql`insert into core.slot (tenant_id, class, max, queue_max) values (${tenant.tenantId}, 'session', 2, 0)`
  const before = await rows()
  const { status, body } = await app.create(tenant, { steps: [step('a')] })
  t.equal(status, 429)
  t.match(body, { code: 'QUEUE_FULL', limit: 0, used: 0, resetsAt: null })
  t.equal(await rows(), before)
})

t.test('a key without the permission is refused', async (t) => {
  const tenant = await app.makeTenant({ scopes: ['sessions:read'] })
  const { status, body } = await app.create(tenant, { steps: [step('a')] })
  t.equal(status, 403)
  t.match(body, { code: 'AUTH_PERMISSION_MISSING', detail: /sessions:write/ })
})

t.test('over the WebSocket a session is created, followed and read', async (t) => {
  const tenant = await app.makeTenant()
  await app.app.listen({ port: 0, host: '127.0.0.1' })
  const address = app.app.server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`)
  t.teardown(() => socket.terminate())
  const frames: {
    id?: string
    event?: string
    seq?: number
    result?: { id: string; state: string }
    error?: { code: string }
    data?: { pct?: number }
  }[] = []
  const heard: (() => void)[] = []
  socket.on('message', (data) => {
    frames.push(JSON.parse(String(data)))
    for (const wake of heard.splice(0)) wake()
  })
  const find = async (met: (frame: (typeof frames)[number]) => boolean) => {
    for (;;) {
      const found = frames.find(met)
      if (found) return found
      await new Promise<void>((resolve) => heard.push(resolve))
    }
  }
  await new Promise((resolve) => socket.once('open', resolve))
  const send = (id: string, method: string, params: object) => socket.send(JSON.stringify({ id, method, params }))
  send('1', 'hello', { protocol: 1, token: tenant.key })
  send('2', 'subscribe', { topics: ['session.*'], after: 0 })
  send('3', 'session.create', { config: { steps: [step('a'), step('b')] }, idempotencyKey: 'ws-1' })
  const created = await find((frame) => frame.id === '3')
  t.match(created.result, { state: 'QUEUED' })
  await find((frame) => frame.event === 'session.completed')
  const seqs = frames.flatMap((frame) => (frame.event ? [frame.seq] : []))
  t.strictSame(
    seqs,
    seqs.map((_, index) => index + 1),
    'no gap, no double'
  )
  t.strictSame(
    frames.flatMap((frame) => frame.data?.pct ?? []),
    [50, 100]
  )
  send('4', 'session.create', { config: { steps: [step('a'), step('b')] }, idempotencyKey: 'ws-1' })
  t.strictSame((await find((frame) => frame.id === '4')).result, created.result)
  send('5', 'session.get', { sessionId: created.result?.id })
  t.equal((await find((frame) => frame.id === '5')).result?.state, 'COMPLETE')
  send('6', 'session.pause', { sessionId: created.result?.id })
  t.equal((await find((frame) => frame.id === '6')).error?.code, 'PULSE_SESSION_CONFLICT')
  send('7', 'session.create', { config: { steps: [step('a', {}, 'host.nope')] } })
  t.equal((await find((frame) => frame.id === '7')).error?.code, 'PULSE_TOOL_UNKNOWN')
})

t.test('the events of a session stream as SSE, from where the client stood, and end with it', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('a')] })
  await app.reaches(tenant, body.id, 'COMPLETE')
  const answer = await app.app.inject({
    url: `/v1/sessions/${body.id}/events`,
    headers: { ...tenant.headers, accept: 'text/event-stream', 'last-event-id': '3' }
  })
  t.match(answer.headers['content-type'], /event-stream/)
  t.strictSame(
    [...answer.body.matchAll(/^id: (\d+)$/gm)].map(([, id]) => id),
    ['4', '5', '6']
  )
  t.match(answer.body, /event: session.completed/)
})
