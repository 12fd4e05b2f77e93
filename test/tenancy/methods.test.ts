import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { must } from '#core/must.ts'
import { until } from '#test/support/until.ts'
import { Client, type Frame } from './support/client.ts'
import { type MethodRow, methodRows } from './support/method-rows.ts'
import { count } from './support/proof.ts'
import { world } from './support/world.ts'

const server = await world(t)
const a = await server.citizen('a')
const b = await server.citizen('b')
await server.app.listen({ port: 0, host: '127.0.0.1' })
const url = `ws://127.0.0.1:${(server.app.server.address() as AddressInfo).port}/v1/ws`
const clients: Client[] = []
t.teardown(() => {
  for (const { socket } of clients) socket.terminate()
})
const methods = server.kernel.ws.methods()
const permissions = [...server.app.permissions.keys()].filter((permission) => !permission.startsWith('platform:'))

function connect(headers?: Record<string, string>): Client {
  const client = new Client(url, headers)
  clients.push(client)
  return client
}

async function hello(token: string | undefined, tenant?: string): Promise<{ client: Client; answer: Frame }> {
  const client = connect()
  const params = { protocol: 1, ...(token === undefined ? {} : { token }), ...(tenant === undefined ? {} : { tenant }) }
  return { client, answer: await client.request('hello', params) }
}

async function withScopes(scopes: string[]): Promise<Client> {
  const { client, answer } = await hello((await server.makeKey(a.tenantId, scopes)).key)
  if (!answer.result) throw new Error(JSON.stringify(answer))
  return client
}

t.test('every method of the gateway has a row, and every row a method', async (t) => {
  t.strictSame(
    Object.fromEntries(methods.map(({ method, permission }) => [method, permission])),
    Object.fromEntries(Object.entries(methodRows).map(([method, { permission }]) => [method, permission]))
  )
})

t.test('hello lets in who has a key, as that tenant only', async (t) => {
  const expired = await server.db.tenant(a.tenantId, (tx) =>
    server.auth.createKey(tx, { name: 'old', scopes: ['*'], expiresAt: new Date(Date.UTC(2020, 0)) })
  )
  const gone = await server.db.tenant(a.tenantId, (tx) => server.auth.createKey(tx, { name: 'gone', scopes: ['*'] }))
  await server.app.inject({ method: 'DELETE', url: `/v1/keys/${gone.row.id}`, headers: a.headers })
  const refused = new Set<string>()
  for (const token of [undefined, 'garbage', expired.key.reveal(), gone.key.reveal(), `${a.key.slice(0, -1)}~`]) {
    const { answer } = await hello(token)
    t.equal(answer.error?.status, 401)
    refused.add(JSON.stringify(answer.error))
  }
  t.equal(refused.size, 1, 'and none of them learns which it was')
  const elsewhere = new Set<string>()
  for (const tenant of [b.tenantId, b.slug, 'nobody', '01900000-0000-7000-8000-0000000000ff']) {
    const { answer } = await hello(a.key, tenant)
    t.equal(answer.error?.status, 403)
    elsewhere.add(JSON.stringify(answer.error))
  }
  t.equal(elsewhere.size, 1)
  for (const tenant of [a.tenantId, a.slug]) t.ok((await hello(a.key, tenant)).answer.result)
  const byQuery = new Client(`${url}?token=${a.key}`)
  clients.push(byQuery)
  const [code] = await once(byQuery.socket, 'close')
  t.equal(code, 4401, 'a key in the query string is no key')
})

for (const { method } of methods) {
  const row = methodRows[method]
  if (row) t.test(method, (t) => checkMethod(t, method, row))
}

async function checkMethod(t: Test, method: string, row: MethodRow): Promise<void> {
  const params = () => row.params(server, a)
  const stranger = await connect().request(method, await params())
  t.equal(stranger.error?.code, 'WS_HELLO_REQUIRED')

  const named = row.permission !== 'authenticated'
  if (named) {
    const less = await withScopes(permissions.filter((permission) => permission !== row.permission))
    const answer = await less.request(method, await params())
    t.match(answer.error, { code: 'AUTH_PERMISSION_MISSING', status: 403 })
  }
  const client = await withScopes([named ? row.permission : 'keys:read'])
  const own = await client.request(method, await params())
  t.ok(own.result || row.refusals?.includes(own.error?.code ?? ''), JSON.stringify(own.error))
  if (row.theirs) {
    const said = (frame: Frame, params: object) => {
      const error = must(frame.error, `a refusal of ${method}`)
      const names = [...JSON.stringify(params).matchAll(/[0-9a-f-]{36}|scope-\w+/g)].map(([name]) => name)
      return names.reduce((text, name) => text.replaceAll(name, '<said>'), JSON.stringify(error))
    }
    const [foreign, absent] = [row.theirs(b), row.absent ?? {}]
    const theirs = await client.request(method, foreign)
    t.ok([404, 422].includes(theirs.error?.status ?? 0), `another tenant's: ${theirs.error?.code}`)
    t.equal(
      said(theirs, foreign),
      said(await client.request(method, absent), absent),
      'is answered like one that is nowhere'
    )
  }
  const odd = await client.request(method, { ...(await params()), tenantId: b.tenantId })
  t.equal(odd.error?.status, 400, 'a tenant among the params is refused')
}

t.test("another tenant's events come to nobody, whatever is subscribed to", async (t) => {
  const [spy, witness] = [await withScopes(['*']), (await hello(b.key)).client]
  const topics = ['*', `session:${b.sessionId}`, `tenant:${b.tenantId}`, 'session.*']
  for (const topic of topics) t.ok((await spy.request('subscribe', { topics: [topic], after: 0 })).result)
  t.ok((await witness.request('subscribe', { topics: ['*'] })).result)
  const made = await Promise.all([1, 2, 3].map(() => server.session(b)))
  const marker = await server.session(a)
  await until(() => made.every((id) => witness.texts.some((text) => text.includes(id))), "b's events at b")
  await until(() => spy.texts.some((text) => text.includes(marker)), "a's event at a")
  const marks = [b.tenantId, b.canary, b.sessionId, ...made]
  const frames = clients.filter((client) => client !== witness).flatMap(({ texts }) => texts)
  const seen = frames.filter((text) => marks.some((mark) => text.includes(mark)) && !text.includes('"error"'))
  t.strictSame(seen, [])
  count(t, 'methods', {
    methods: methods.length + 1,
    'frames looked at': frames.length,
    'frames with a foreign canary': seen.length
  })
})
