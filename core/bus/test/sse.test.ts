import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { AuthRequired } from '#core/auth/errors.ts'
import { resumeFrom, type SseOptions, streamEvents, wantsEventStream } from '#core/bus/sse.ts'
import { Ticked, Tocked, testBus, upTo } from '#core/bus/test/support.ts'
import { systemClock } from '#core/clock.ts'
import { DatabaseUnavailable } from '#core/db/errors.ts'
import { pending } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { until } from '#test/support/until.ts'

async function serve(t: Test, more: Partial<SseOptions> = {}) {
  const test = await testBus(t)
  await test.bus.start()
  const tenantId = newId()
  const app = Fastify()
  let open = 0
  app.addHook(
    'onRequest',
    async (_request, reply) => void reply.header('access-control-allow-origin', 'https://a.example')
  )
  app.get('/events', (request, reply) => {
    if (!wantsEventStream(request)) return reply.send({ data: [] })
    const after = resumeFrom(request, 0n)
    open++
    reply.raw.on('close', () => open--)
    const query = { topics: ['*'], ...(after === undefined ? {} : { after }) }
    streamEvents(reply, {
      bus: test.bus,
      clock: systemClock,
      tenantId,
      query,
      pingMs: 20,
      renewMs: 20,
      renew: async () => {},
      ...more,
      last: (event) => event.type === 'probe.tocked'
    })
  })
  const url = `${await app.listen({ port: 0, host: '127.0.0.1' })}/events`
  t.teardown(() => app.close())
  const emit = (n: number[]) =>
    test.db.tenant(tenantId, (tx) =>
      test.bus.emitAll(
        tx,
        n.map((i) => pending(Ticked, 'p', { n: i }))
      )
    )
  return { ...test, tenantId, url, emit, open: () => open }
}

async function* lines(response: Response): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of response.body ?? []) {
    const parts = (rest + Buffer.from(chunk).toString()).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}

const sse = { accept: 'text/event-stream' }

t.test('a client reads history and what follows, and resumes behind its Last-Event-ID', async (t) => {
  const { url, emit, bus, db, tenantId } = await serve(t)
  await emit([1, 2, 3])
  const ids: string[] = []
  const first = await fetch(url, { headers: sse })
  t.equal(first.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  t.equal(first.headers.get('access-control-allow-origin'), 'https://a.example', 'what hooks had set goes out too')
  const seen: string[] = []
  for await (const line of lines(first)) {
    seen.push(line.split(':')[0] ?? '')
    if (line.startsWith('id: ')) ids.push(line.slice(4))
    if (ids.length === 3 && seen.includes('')) break
  }
  t.equal(seen[0], 'retry')
  t.strictSame(ids, ['1', '2', '3'])

  await emit([4])
  const again = await fetch(url, { headers: { ...sse, 'last-event-id': '2' } })
  const data: { seq: number; event: string; data: unknown }[] = []
  for await (const line of lines(again)) {
    if (!line.startsWith('data: ')) continue
    data.push(JSON.parse(line.slice(6)))
    if (data.length === 2) await db.tenant(tenantId, (tx) => bus.emit(tx, Tocked, 'p', { n: 5 }))
  }
  t.match(data, [
    { seq: 3, event: 'probe.ticked', tenantId, subject: 'probe:p', data: { n: 3 } },
    { seq: 4 },
    { seq: 5, event: 'probe.tocked' }
  ])
})

t.test('an idle stream is kept alive by comments and ends with its client', async (t) => {
  const { url, open } = await serve(t)
  const abort = new AbortController()
  const response = await fetch(url, { headers: sse, signal: abort.signal })
  for await (const line of lines(response)) if (line === ': ping') break
  t.equal((await fetch(url)).headers.get('content-type'), 'application/json; charset=utf-8')
  abort.abort()
  await until(() => open() === 0, 'the server lets go')
})

t.test('a slow reader gets everything in order, and the rest does not wait in memory', async (t) => {
  const { url, bus, db, tenantId } = await serve(t)
  const big = (n: number) => pending(Ticked, 'p'.repeat(4000), { n })
  for (const batch of upTo(10))
    await db.tenant(tenantId, (tx) =>
      bus.emitAll(
        tx,
        upTo(200).map((n) => big((batch - 1) * 200 + n))
      )
    )
  await db.tenant(tenantId, (tx) => bus.emit(tx, Tocked, 'p', { n: 0 }))
  const response = await fetch(url, { headers: sse })
  const ids: number[] = []
  for await (const line of lines(response)) {
    if (!line.startsWith('id: ')) continue
    ids.push(Number(line.slice(4)))
    if (ids.length % 400 === 0) await systemClock.sleep(5)
  }
  t.strictSame(ids, upTo(2001))
})

t.test('a Last-Event-ID that is no seq is refused', async (t) => {
  const { url } = await serve(t)
  const response = await fetch(url, { headers: { ...sse, 'last-event-id': '12; drop' } })
  t.match(await response.json(), { code: 'REQUEST_INVALID' })
})

t.test('a stream ends when its client may not have it any more, and only then', async (t) => {
  let answer: Error = new DatabaseUnavailable('away')
  let asked = 0
  const renew = async () => {
    asked++
    throw answer
  }
  const { url, open } = await serve(t, { renew })
  const response = await fetch(url, { headers: sse })
  await until(() => asked > 2, 'some pings')
  t.equal(open(), 1, 'the database was away, the client stays')
  answer = new AuthRequired('revoked')
  await response.text()
  await until(() => open() === 0, 'the end')
})

t.test('a tenant has so many streams at once; one that ends makes room', async (t) => {
  const { url, open } = await serve(t, { perTenant: 2 })
  const first = new AbortController()
  const rest = new AbortController()
  t.teardown(() => rest.abort())
  await fetch(url, { headers: sse, signal: first.signal })
  await fetch(url, { headers: sse, signal: rest.signal })
  t.match(await (await fetch(url, { headers: sse })).json(), { code: 'BUS_TOO_MANY_STREAMS' })
  first.abort()
  await until(async () => {
    const again = await fetch(url, { headers: sse, signal: rest.signal })
    return again.status === 200
  }, 'room for another')
  t.ok(open() >= 2)
})
