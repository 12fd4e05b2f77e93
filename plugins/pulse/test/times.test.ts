import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'

const { app, makeTenant } = await pulseApp(t, hostTools({ a: { run: () => ({}) } }))

const refused = [
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00+23:59',
  '1000-01-01T00:00:00+23:59',
  '2030-01-01T00:00Z',
  '9999-01-01T00:00:00Z',
  '9999-12-31T23:59:59-23:59',
  '9998-12-31T23:59:59-00:01',
  '2026-02-30T00:00:00Z',
  '2026-01-01T24:00:00Z',
  '2026-01-01T00:00:00+24:00'
]
// The same instants as texts in UTC.
const taken = {
  '0999-12-31T23:59:59.999-00:01': '1000-01-01T00:00:59.999Z',
  '9999-01-01T00:00:00+00:01': '9998-12-31T23:59:00.000Z',
  '2030-01-01T00:00:00.123456789+23:59': '2029-12-31T00:01:00.123Z'
}

t.test('a time that Postgres cannot keep is 400 with its place, any other is the instant that it names', async (t) => {
  const { headers } = await makeTenant()
  const post = (url: string, payload: object) => app.inject({ method: 'POST', url, headers, payload })
  const steps = [{ id: 'a', kind: 'tool', tool: 'host.a' }]
  const list = (time: string) => app.inject({ url: `/v1/sessions?createdAfter=${encodeURIComponent(time)}`, headers })
  for (const time of refused) {
    const pointed = (pointer: string) => ({ status: 400, code: 'REQUEST_INVALID', errors: [{ pointer }] })
    t.match((await post('/v1/sessions', { steps, deadline: time })).json(), pointed('/deadline'), time)
    t.match((await list(time)).json(), pointed('/createdAfter'), time)
    t.match((await post('/v1/keys', { name: 'k', scopes: ['*'], expiresAt: time })).json(), pointed('/expiresAt'), time)
  }
  for (const [time, utc] of Object.entries(taken)) {
    t.equal((await list(time)).statusCode, 200, time)
    const made = await post('/v1/sessions', { steps, deadline: time, start: 'manual' })
    if (Date.parse(utc) < Date.now()) {
      t.match(made.json(), { status: 422, code: 'PULSE_LIMIT_EXCEEDED', errors: [{ pointer: '/deadline' }] }, time)
      continue
    }
    t.equal(made.statusCode, 201, made.body)
    const session = await app.inject({ url: `/v1/sessions/${made.json().id}`, headers })
    t.equal(session.json().deadline, utc, time)
  }
  const key = await post('/v1/keys', { name: 'k', scopes: ['*'], expiresAt: '9999-01-01T00:00:00+00:01' })
  t.match(key.json(), { expiresAt: '9998-12-31T23:59:00.000Z' })
})

t.test('the API document says date-time of them', async (t) => {
  const { paths } = (await app.inject('/openapi.json')).json()
  const body = (path: string) => paths[path].post.requestBody.content['application/json'].schema.properties
  const time = { type: 'string', format: 'date-time' }
  t.match(body('/v1/sessions').deadline, time)
  t.match(body('/v1/keys').expiresAt, time)
  const query: { name: string; schema: object }[] = paths['/v1/sessions'].get.parameters
  t.match(query.find(({ name }) => name === 'createdAfter')?.schema, time)
})
