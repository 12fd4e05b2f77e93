import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { ActorHost } from '#core/actors/index.ts'
import { newId } from '#core/ids.ts'
import { readmeProblems } from '#test/architecture/readme.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'
import { greetingEffects } from '../effects.ts'
import hello from '../index.ts'
import { greetingKind } from '../kind.ts'
import { greetingMachine } from '../machine.ts'
import { HelloOptions } from '../schema.ts'

async function world(t: Test, options: Partial<HelloOptions> = {}) {
  const made = await pulseApp(t, hostTools({}), { rooms: [{ room: hello, options }] })
  type Who = { headers: Record<string, string> }
  const post = (who: Who, url: string, payload: object, headers = {}) =>
    made.app.inject({ method: 'POST', url, headers: { ...who.headers, ...headers }, payload })
  const get = (who: Who, id: string) => made.app.inject({ url: `/v1/hello/${id}`, headers: who.headers })
  const reaches = (who: Who, id: string, state: string) =>
    until(async () => (await get(who, id)).json().state === state, `greeting is ${state}`)
  return { ...made, post, get, reaches }
}

t.test('somebody is greeted, replies, and both are news', async (t) => {
  const { post, get, reaches, makeTenant, app, kernel } = await world(t)
  const A = await makeTenant()
  const made = await post(A, '/v1/hello', { name: 'Ada', language: 'fr' })
  t.equal(made.statusCode, 202)
  const { id } = made.json()
  t.equal(made.headers.location, `/v1/hello/${id}`)
  await reaches(A, id, 'WAITING')
  t.match((await get(A, id)).json(), { name: 'Ada', text: /^Bonjour, Ada ! \(\d{4}-/, reply: null, endedAt: null })

  const replied = await post(A, `/v1/hello/${id}/reply`, { text: 'Salut' })
  t.equal(replied.statusCode, 200)
  t.match(replied.json(), { state: 'GREETED', reply: 'Salut', endedAt: /Z$/ })
  const again = await post(A, `/v1/hello/${id}/reply`, { text: 'Salut' })
  t.match(again.json(), { status: 409, code: 'HELLO_REPLY_REFUSED', state: 'GREETED' })

  const history = () => kernel.bus.history(A.tenantId, { after: 0n, limit: 10, topics: [`hello:${id}`] })
  await until(async () => (await history()).length === 2, 'two events')
  t.match(await history(), [
    { type: 'hello.written', subject: `hello:${id}`, data: { name: 'Ada', text: /^Bonjour/ } },
    { type: 'hello.greeted', tenantId: A.tenantId, data: { reply: 'Salut' } }
  ])
  t.ok(app.permissions.has('hello:write'))
})

t.test('two tenants do not see each other', async (t) => {
  const { post, get, reaches, makeTenant, kernel, sql } = await world(t)
  const [A, B] = [await makeTenant(), await makeTenant()]
  const { id } = (await post(A, '/v1/hello', { name: 'Ada' })).json()
  await reaches(A, id, 'WAITING')
  const absent = newId()
  const reply = { text: 'x' }
  const looks = async (of: string) => [await get(B, of), await post(B, `/v1/hello/${of}/reply`, reply)]
  const [foreign, missing] = [await looks(id), await looks(absent)]
  for (const [index, answer] of foreign.entries()) {
    t.match(answer.json(), { status: 404, code: 'HELLO_NOT_FOUND' })
    t.strictSame(
      Object.keys(answer.json()),
      Object.keys(missing[index]?.json() ?? {}),
      'a foreign greeting looks like none'
    )
  }
  t.strictSame(await kernel.bus.history(B.tenantId, { after: 0n, limit: 10 }), [])
  t.equal((await sql`select from hello.greeting where state = 'WAITING'`).length, 1)
})

t.test('what is refused leaves nothing behind', async (t) => {
  const { post, makeTenant, sql } = await world(t)
  const A = await makeTenant()
  const reader = await makeTenant({ scopes: ['hello:read'] })
  t.match((await post(A, '/v1/hello', {})).json(), { code: 'REQUEST_INVALID', errors: [{ pointer: '/name' }] })
  t.match((await post(A, '/v1/hello', { name: 'Ada', language: 'xx' })).json(), {
    status: 422,
    code: 'HELLO_LANGUAGE_UNKNOWN'
  })
  t.match((await post(reader, '/v1/hello', { name: 'Ada' })).json(), { status: 403, code: 'AUTH_PERMISSION_MISSING' })
  t.equal((await sql`select from hello.greeting`).length, 0)
})

t.test('one Idempotency-Key greets once', async (t) => {
  const { post, makeTenant, sql } = await world(t)
  const A = await makeTenant()
  const key = { 'idempotency-key': 'only-once' }
  const [first, second] = [
    await post(A, '/v1/hello', { name: 'Ada' }, key),
    await post(A, '/v1/hello', { name: 'Ada' }, key)
  ]
  t.equal(first.json().id, second.json().id)
  t.equal(second.headers['idempotency-replayed'], 'true')
  t.equal((await sql`select from hello.greeting`).length, 1)
})

t.test('a greeting whose host was killed in the middle is written by the next one', async (t) => {
  const { post, get, reaches, makeTenant, kernel, sql } = await world(t, { thinkMs: 60_000 })
  const A = await makeTenant()
  const { id } = (await post(A, '/v1/hello', { name: 'Ada' })).json()
  await until(() => kernel.actors.activations().greeting === 1, 'its activation')
  const early = await post(A, `/v1/hello/${id}/reply`, { text: 'Hi' })
  t.equal(early.statusCode, 202, 'a reply in the middle of it waits in the inbox')

  // A killed host claims and renews nothing: its lease runs out. The next one has the same database, and nothing else.
  await kernel.actors.stopClaiming()
  await sql`update hello.greeting set lease_owner = ${newId()}, lease_until = now() - interval '1 s' where id = ${id}`
  const { db, bus, clock, log } = kernel
  const heir = new ActorHost({ hostId: newId(), db, bus, clock, log })
  const options = HelloOptions.parse({ greetings: { en: 'Hello from the heir, {name}' } })
  heir.register(greetingKind, { effects: greetingEffects({ clock, options }) })
  t.teardown(() => heir.stop(100))
  await heir.start()

  await reaches(A, id, 'GREETED')
  t.match((await get(A, id)).json(), { text: /^Hello from the heir, Ada/, reply: 'Hi' })
  const arrows = await sql`select to_state, epoch from core.transition where actor_id = ${id} order by n`
  t.strictSame(
    arrows.map((row) => [row.to_state, row.epoch]),
    [['GREETED', 2]]
  )
})

t.test('a reply to a greeting that is being written counts, a second one does not', async (t) => {
  const { post, get, reaches, makeTenant, kernel } = await world(t, { thinkMs: 100 })
  const A = await makeTenant()
  const { id } = (await post(A, '/v1/hello', { name: 'Ada' })).json()
  const [first, second] = await Promise.all([
    post(A, `/v1/hello/${id}/reply`, { text: 'Hi' }),
    post(A, `/v1/hello/${id}/reply`, { text: 'Hi' })
  ])
  t.strictSame([first.statusCode, second.statusCode].sort(), [200, 409])
  await reaches(A, id, 'GREETED')
  t.match((await get(A, id)).json(), { text: /^Hello, Ada!/, reply: 'Hi' })
  const history = () => kernel.bus.history(A.tenantId, { after: 0n, limit: 10 })
  await until(async () => (await history()).length === 2, 'two events')
  t.strictSame(
    (await history()).map(({ type }) => type),
    ['hello.written', 'hello.greeted']
  )
})

t.test('the machine is pure, and the README says what the manifest says', async (t) => {
  t.notMatch(JSON.stringify(greetingMachine.config), /"(invoke|after|always|entry|exit)"/)
  const { app } = await world(t)
  const room = app.rooms().find(({ name }) => name === 'hello')
  t.ok(room)
  if (room) t.strictSame(readmeProblems(await readFile(new URL('../README.md', import.meta.url), 'utf8'), room), [])
})

t.test('it imports only what is published', async (t) => {
  for (const file of ['index', 'schema', 'events', 'machine', 'kind', 'effects', 'store', 'routes', 'errors']) {
    const source = await readFile(new URL(`../${file}.ts`, import.meta.url), 'utf8')
    const foreign = [...source.matchAll(/from '([^']+)'/g)]
      .map(([, name]) => name)
      .filter((name) => !/^\.\//.test(name ?? ''))
    t.strictSame([...new Set(foreign)], foreign.length ? ['agentos/plugin'] : [], file)
  }
})
