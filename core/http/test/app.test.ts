import { connect } from 'node:net'
import t from 'tap'
import { z } from 'zod'
import { definePlugin } from '#core/plugin.ts'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'

const Point = z.strictObject({ x: z.number(), y: z.number() })

const room = definePlugin({
  name: 'probe',
  needs: ['db'],
  permissions: { 'probe:write': 'Draw shapes.' },
  decorators: ['shared'],
  register(app) {
    app.decorate('shared', 'for all')
    app.decorate('own', 'for me')
    const config = { permission: 'public' }
    const body = z.strictObject({
      name: z.string(),
      shape: z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('dot'), at: Point }),
        z.strictObject({ kind: z.literal('line'), points: z.array(Point).min(2) })
      ]),
      'a/b': z.number().optional()
    })
    app.route({ method: 'POST', url: '/v1/shapes', config, schema: { body }, handler: async () => ({ ok: true }) })
    app.route({
      method: 'GET',
      url: '/v1/shapes/:id/points/*',
      config,
      handler: async (request) => ({ id: request.id, own: app.hasDecorator('own') })
    })
    app.get('/v1/liar', { config, schema: { response: { 200: z.object({ n: z.number() }) } } }, async () => {
      return { n: 'seven' } as unknown as { n: number }
    })
    app.get('/v1/broken', { config }, async () => {
      throw new Error('the password is tr0ub4dor', { cause: new Error('deep down') })
    })
    app.get('/v1/gone', { config }, async () => {
      throw Object.assign(new Error('write CONNECTION_CLOSED 10.1.2.3:5432'), { code: 'CONNECTION_CLOSED' })
    })
    app.get('/v1/deadlock', { config }, async () => {
      throw Object.assign(new Error('deadlock detected'), { code: '40P01' })
    })
    app.get('/v1/anonymous', { config }, async (request) => request.auth.tenantId)
  }
})

t.test('the app answers, and refuses, as the wire says', async (t) => {
  const { app, lines } = await testApp(t, { rooms: [{ room }] })
  const post = (payload: string, type = 'application/json') =>
    app.inject({ method: 'POST', url: '/v1/shapes', headers: { 'content-type': type }, payload })
  const good = { name: 'a', shape: { kind: 'dot', at: { x: 1, y: 2 } } }

  t.test('an invalid body is 400 with a pointer per fault, unknown keys by name', async (t) => {
    const shape = { kind: 'line', points: [{ x: 1, y: '2', z: 3 }, {}] }
    const answer = await post(JSON.stringify({ name: 'a', shape, 'a/b': 'x', extra: 1 }))
    t.equal(answer.statusCode, 400)
    t.match(answer.headers['content-type'], 'application/problem+json')
    const { code, errors, title, type, requestId } = answer.json()
    t.match(
      { code, title, type },
      { code: 'REQUEST_INVALID', title: 'Bad Request', type: 'urn:agentos:error:REQUEST_INVALID' }
    )
    t.equal(requestId, answer.headers['x-request-id'])
    t.strictSame(errors.map((error: { pointer: string }) => error.pointer).sort(), [
      '/a~1b',
      '/extra',
      '/shape/points/0/y',
      '/shape/points/0/z',
      '/shape/points/1/x',
      '/shape/points/1/y'
    ])
    t.match(errors.find((error: { pointer: string }) => error.pointer === '/extra').detail, 'unknown key "extra"')
    t.equal((await post(JSON.stringify(good))).statusCode, 200)
  })

  t.test('malformed JSON is 400 with the position', async (t) => {
    const cases: [string, number][] = [
      ['{"name": x}', 9],
      ['{"name": "a",}', 13],
      ['{"name": "a"', 12],
      ['xyz', 0],
      [`{"${'n'.repeat(100)}": nope}`, 106]
    ]
    for (const [text, position] of cases) {
      const problem = (await post(text)).json()
      t.match(problem, { status: 400, code: 'REQUEST_BODY_MALFORMED', position }, text)
    }
  })

  t.test('deep JSON and keys that reach for prototypes are 400', async (t) => {
    const deep = (await post(`{"a":${'['.repeat(100)}${']'.repeat(100)}}`)).json()
    t.match(deep, { status: 400, code: 'REQUEST_INVALID', errors: [{ pointer: '', detail: /100 levels/ }] })
    t.equal((await post(`${'['.repeat(200_000)}${']'.repeat(200_000)}`)).statusCode, 400)
    for (const key of ['__proto__', 'constructor', '\\u005f_proto__']) {
      const problem = (await post(`{"a/":[{"${key}":{"x":1}}]}`)).json()
      t.match(problem, {
        status: 400,
        code: 'REQUEST_INVALID',
        errors: [{ pointer: /^\/a~1\/0\/(__proto__|constructor)$/ }]
      })
    }
  })

  t.test('text that no database keeps is 400 wherever it stands in a request', async (t) => {
    const body = (await post(JSON.stringify({ ...good, name: 'a\0' }))).json()
    t.match(body, { status: 400, code: 'REQUEST_INVALID', errors: [{ pointer: '/name', detail: /U\+0000/ }] })
    t.match((await post('{"name": "\\ud800"}')).json(), { errors: [{ pointer: '/name', detail: /surrogate/ }] })
    const query = (await app.inject('/v1/shapes/1/points/2?name=a%00')).json()
    t.match(query, { status: 400, errors: [{ in: 'query', pointer: '/name', detail: /U\+0000/ }] })
    const path = (await app.inject('/v1/shapes/1%00/points/2')).json()
    t.match(path, { status: 400, errors: [{ in: 'path', pointer: '/id', detail: /U\+0000/ }] })
  })

  t.test('a body above 1 MiB is 413, another content type 415, none at all a missing body', async (t) => {
    t.match((await post(JSON.stringify('x'.repeat(1024 * 1024)))).json(), {
      status: 413,
      code: 'REQUEST_TOO_LARGE',
      maxBytes: 1024 * 1024
    })
    t.match((await post('a: 1', 'text/yaml')).json(), { status: 415, code: 'REQUEST_MEDIA_TYPE_UNSUPPORTED' })
    t.match((await post('hi', 'text/plain')).json(), { status: 415 })
    t.match((await post('')).json(), { status: 400, code: 'REQUEST_INVALID', errors: [{ pointer: '' }] })
  })

  t.test('an unknown path is 404, a known one with another method 405 with Allow', async (t) => {
    t.match((await app.inject('/v1/nowhere?token=x')).json(), { status: 404, detail: 'there is no GET /v1/nowhere' })
    const answer = await app.inject({ method: 'DELETE', url: '/v1/shapes' })
    t.equal(answer.statusCode, 405)
    t.equal(answer.headers.allow, 'POST')
    const deep = await app.inject({ method: 'PUT', url: '/v1/shapes/7/points/1/2' })
    t.equal(deep.headers.allow, 'GET')
    t.equal((await app.inject({ url: '/v1/%ff' })).json().code, 'REQUEST_REFUSED')
  })

  t.test('a plain request id is taken over and echoed, a strange one replaced', async (t) => {
    const ask = (id: string) => app.inject({ url: '/v1/shapes/1/points/2', headers: { 'x-request-id': id } })
    const living = new Secret('a-guess-that-is-right')
    t.equal((await ask(living.reveal())).headers['x-request-id'], 'a-guess-that-is-right', 'taken like any other')
    t.equal((await ask('trace-1.a:b')).headers['x-request-id'], 'trace-1.a:b')
    for (const bad of ['a b', 'x'.repeat(129), '<script>']) t.match((await ask(bad)).json().id, /^[0-9a-f-]{36}$/)
  })

  t.test('a 5xx hides its cause from the client and logs it', async (t) => {
    const answer = await app.inject('/v1/broken')
    t.match(answer.json(), { status: 500, code: 'INTERNAL_ERROR' })
    t.notMatch(answer.body, /tr0ub4dor|deep down|stack/)
    const line = lines.find((line) => line.includes('tr0ub4dor'))
    t.match(line, 'deep down')
    t.match(line, answer.json().requestId)
    t.match((await app.inject('/v1/liar')).json(), { status: 500, code: 'RESPONSE_INVALID' })
    t.match((await app.inject('/v1/anonymous')).json(), { status: 500 })
  })

  t.test('a database that is away or busy is 503 with Retry-After', async (t) => {
    const away = await app.inject('/v1/gone')
    t.match(away.json(), { status: 503, code: 'DB_UNAVAILABLE' })
    t.equal(away.headers['retry-after'], '1')
    t.notMatch(away.body, '10.1.2.3')
    t.match((await app.inject('/v1/deadlock')).json(), { status: 503, code: 'DB_BUSY' })
  })

  t.test('decorators that a room declares are there for all, others stay inside', async (t) => {
    t.ok(app.hasDecorator('shared'))
    t.notOk(app.hasDecorator('own'))
    t.equal((await app.inject('/v1/shapes/1/points/2')).json().own, true)
  })

  t.test('bytes that are no HTTP get a problem, too', async (t) => {
    await app.listen({ port: 0, host: '127.0.0.1' })
    const address = app.server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const answer = await new Promise<string>((resolve, reject) => {
      let text = ''
      const socket = connect(port, '127.0.0.1', () => socket.write('HELO there\r\n\r\n'))
      socket
        .on('data', (chunk) => (text += chunk))
        .on('close', () => resolve(text))
        .on('error', reject)
    })
    t.match(answer, /^HTTP\/1.1 400/)
    t.match(JSON.parse(answer.split('\r\n\r\n')[1] ?? ''), { status: 400, code: 'REQUEST_REFUSED' })
  })
})

t.test('the API describes itself: OpenAPI 3.1, and a UI without a foreign host', async (t) => {
  const { app } = await testApp(t, { rooms: [{ room }] })
  const api = (await app.inject('/openapi.json')).json()
  t.match(api.openapi, /^3\.1/)
  t.ok(api.paths['/v1/keys'].post.requestBody)
  t.equal(api.paths['/v1/keys'].post['x-permission'], 'keys:write')
  t.strictSame(api.paths['/livez'].get.security, [])
  t.match(api.paths['/v1/keys'].get.responses.default.content['application/problem+json'].schema, { $ref: /Problem/ })
  t.ok(api.components.schemas.Problem)

  const page = await app.inject({ url: '/docs/', headers: { host: 'localhost:3000' } })
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-type'], 'text/html')
  t.match(page.body, '/openapi.json')
  t.notMatch(page.body, /(src|href)="https?:\/\//)
  const script = /src="([^"]+)"/.exec(page.body)?.[1] ?? ''
  const asset = await app.inject(new URL(script, 'http://localhost/docs/').pathname)
  t.equal(asset.statusCode, 200)
  t.ok(asset.rawPayload.length > 1_000_000)
})
