import { createHash } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import t from 'tap'
import { z } from 'zod'
import type { EdgeOptions } from '#core/http/edge/index.ts'
import { definePlugin } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { until } from '#test/support/until.ts'

const room = definePlugin({
  name: 'probe',
  needs: ['db'],
  register(app) {
    const config = { permission: 'public' }
    app.get('/v1/ip', { config }, async (request) => ({ ip: request.ip, protocol: request.protocol }))
    app.post('/v1/any', { config, schema: { body: z.json() } }, async () => ({ ok: true }))
    app.get('/v1/rows', { config }, async () => app.db.system((tx) => tx`select 1 as one`))
  }
})
const edged = (edge: EdgeOptions = {}) => testApp(t, { rooms: [{ room }], edge })

t.test('an answer of the API may load, run and frame nothing in a browser', async (t) => {
  const { app } = await edged()
  for (const url of ['/v1/ip', '/v1/nothing', '/v1/whoami']) {
    const { headers } = await app.inject({ url, headers: { 'x-forwarded-proto': 'https' } })
    t.match(headers, {
      'content-security-policy': "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer'
    })
    t.notHas(headers, { 'strict-transport-security': String }, 'it did not come by https, whatever it says')
    t.notHas(headers, { 'access-control-allow-origin': String })
  }
})

t.test('the docs page runs its own scripts and no others', async (t) => {
  const { app } = await edged()
  const page = await app.inject('/docs/')
  const policy = String(page.headers['content-security-policy'])
  const inline = [...page.body.matchAll(/<script[^>]*>([^<]+)<\/script>/g)].map(([, code = '']) => code)
  t.ok(inline.length > 0)
  for (const code of inline) t.match(policy, `'sha256-${createHash('sha256').update(code).digest('base64')}'`)
  t.match(policy, /script-src 'self' 'sha256-[^']+';/)
  const files = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file = '']) => file)
  t.ok(files.length > 0 && files.every((file) => !/^(https?:)?\/\//.test(file)), 'all from this server')
  for (const file of files) t.equal((await app.inject(new URL(file, 'http://x/docs/').pathname)).statusCode, 200)
})

t.test('pages of listed origins may call, with a token and without cookies; others may not', async (t) => {
  const origin = 'https://app.example.com'
  const { app } = await edged({ allowedOrigins: [origin] })
  const preflight = (from: string, url = '/v1/keys') =>
    app.inject({
      method: 'OPTIONS',
      url,
      headers: {
        origin: from,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization'
      }
    })
  const yes = await preflight(origin)
  t.equal(yes.statusCode, 204)
  t.match(yes.headers, {
    'access-control-allow-origin': origin,
    'access-control-allow-methods': /POST/,
    'access-control-allow-headers': /authorization.*idempotency-key/,
    vary: /Origin/
  })
  t.notHas(yes.headers, { 'access-control-allow-credentials': String })
  const refused = await app.inject({ url: '/v1/whoami', headers: { origin } })
  t.equal(refused.statusCode, 401)
  t.equal(refused.headers['access-control-allow-origin'], origin, 'the page can read why')
  t.match(refused.headers['access-control-expose-headers'], /retry-after/)

  for (const from of ['https://evil.example', 'https://app.example.com.evil.example', 'null']) {
    const no = await preflight(from)
    t.equal(no.statusCode, 405)
    t.match(no.headers.allow, /^GET, POST$/)
    t.notHas(no.headers, { 'access-control-allow-origin': String })
    t.equal((await preflight(from, '/v1/nothing')).statusCode, 404)
  }
  t.equal((await app.inject('/v1/nothing')).statusCode, 404, 'the preflight route makes nothing else known')
  const { app: closed } = await edged()
  t.equal((await closed.inject({ method: 'OPTIONS', url: '/v1/keys', headers: { origin } })).statusCode, 405)
})

t.test('an address is what a trusted proxy says it is, and nobody else', async (t) => {
  const ask = async (trustProxy: NonNullable<EdgeOptions['trustProxy']>, remoteAddress: string, chain: string) => {
    const { app } = await edged({ trustProxy })
    const headers = { 'x-forwarded-for': chain, 'x-forwarded-proto': 'https' }
    const answer = await app.inject({ url: '/v1/ip', remoteAddress, headers })
    return { ...answer.json(), hsts: answer.headers['strict-transport-security'] }
  }
  t.match(await ask(['10.0.0.0/8'], '10.1.2.3', '198.51.100.7, 10.9.9.9'), {
    ip: '198.51.100.7',
    protocol: 'https',
    hsts: 'max-age=31536000'
  })
  t.match(await ask(['10.0.0.0/8'], '192.0.2.1', '198.51.100.7'), { ip: '192.0.2.1', protocol: 'http' })
  t.match(await ask(1, '192.0.2.1', '203.0.113.5, 198.51.100.7'), { ip: '198.51.100.7' }, 'one hop: the last one')
  t.match(await ask(2, '192.0.2.1', '203.0.113.5, 198.51.100.7'), { ip: '203.0.113.5' })
})

t.test('most requests with an X-Forwarded-For that nobody is believed are told, and turn a line red', async (t) => {
  const clock = new FakeClock()
  const { app, lines } = await testApp(t, { rooms: [{ room }], clock })
  const line = async () => (await app.doctor.run('edge'))?.checks.find(({ name }) => name === 'proxy.trusted')
  const ask = async (times: number, forwarded: boolean) => {
    for (let i = 0; i < times; i++) {
      const answer = await app.inject({
        url: '/v1/ip',
        headers: forwarded ? { 'x-forwarded-for': '198.51.100.7' } : {}
      })
      t.equal(answer.json().ip, '127.0.0.1')
    }
  }
  const told = () => lines.filter((text) => text.includes('TRUST_PROXY')).length
  await ask(9, true)
  t.match(await line(), { ok: true, detail: /^9 of 9 / }, 'a few that somebody made up are no proxy')
  await ask(11, false)
  await ask(2, true)
  t.match(await line(), { ok: true, detail: /^11 of 22 / }, 'half of them')
  t.equal(told(), 0)
  await clock.advance(60_000)
  for (let i = 0; i < 20; i++) await app.inject('/livez')
  await ask(3, true)
  t.match(await line(), { ok: false, detail: /^14 of 25 /, fix: /TRUST_PROXY/ }, 'probes come past a proxy')
  t.equal(told(), 1)
  await clock.advance(4 * 60_000)
  t.match(await line(), { ok: true, detail: /^3 of 3 / }, 'the first minute is five minutes ago')
  for (let minute = 0; minute < 8; minute++) {
    await ask(2, true)
    await clock.advance(60_000)
  }
  t.match(await line(), { ok: true, detail: /^8 of 8 / })
  const behind = await edged({ trustProxy: ['127.0.0.1'] })
  await behind.app.inject({ url: '/v1/ip', headers: { 'x-forwarded-for': '198.51.100.7' } })
  t.match((await behind.app.doctor.run('edge'))?.checks[0], { ok: true, detail: /127\.0\.0\.1/ })
})

t.test('JSON of ten thousand levels, and of half a million, is refused by its depth', async (t) => {
  const { app } = await edged()
  const post = (payload: string) =>
    app.inject({ method: 'POST', url: '/v1/any', headers: { 'content-type': 'application/json' }, payload })
  for (const depth of [101, 10_000, 500_000]) {
    for (const payload of [
      `${'['.repeat(depth)}${']'.repeat(depth)}`,
      `${'{"a":'.repeat(depth / 5)}1${'}'.repeat(depth / 5)}`
    ]) {
      const levels = payload.startsWith('[') ? depth : Math.floor(depth / 5)
      const answer = await post(payload)
      if (levels <= 100) t.equal(answer.statusCode, 200)
      else t.match(answer.json(), { status: 400, code: 'REQUEST_INVALID', detail: 'nested deeper than 100 levels' })
    }
  }
  t.match((await post('['.repeat(10_000))).json(), { status: 400, code: 'REQUEST_BODY_MALFORMED' })
  t.equal((await post(`"${'a'.repeat(1024 * 1024)}"`)).statusCode, 413)
})

t.test('too many headers, and too large ones, are 431', async (t) => {
  const { app } = await edged()
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`x-h${i}`, '1']))
  t.match((await app.inject({ url: '/v1/ip', headers: many })).json(), { code: 'REQUEST_HEADERS_TOO_MANY', most: 100 })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const said = await talk(
    app.server.address(),
    `GET /v1/ip HTTP/1.1\r\nhost: x\r\nx-big: ${'a'.repeat(17_000)}\r\n\r\n`
  )
  t.match(said, /^HTTP\/1\.1 431 [\s\S]*application\/problem\+json/)
})

t.test('who sends headers a byte at a time is cut off', async (t) => {
  const { app } = await edged()
  t.equal(app.server.headersTimeout, 10_000)
  t.equal(app.server.requestTimeout, 60_000)
  app.server.headersTimeout = 100 // nobody waits ten seconds for a test; it is looked at every two
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.match(await talk(app.server.address(), 'GET /v1/ip HTTP/1.1\r\nhost: x\r\nx-slow: '), /^HTTP\/1\.1 408 /)
})

t.test('a host under pressure answers 503 and when to come again; probes go on', async (t) => {
  const { app } = await edged({ pressure: { eventLoopMs: 60_000, heapShare: 1e-6 } })
  await until(async () => (await app.inject('/v1/ip')).statusCode === 503, 'the first sample is taken')
  const answer = await app.inject('/v1/ip')
  t.match(answer.headers, { 'retry-after': '2', 'content-type': 'application/problem+json' })
  t.match(answer.json(), { code: 'HOST_OVERLOADED', status: 503 })
  t.notMatch(answer.body, /heap/, 'what is full is for the log')
  t.equal((await app.inject('/livez')).statusCode, 200)
  t.equal((await app.inject('/readyz')).statusCode, 200)
})

t.test('a database without a free connection is 503 and when to come again', async (t) => {
  const { app, db } = await testApp(t, { rooms: [{ room }], open: { systemPool: 1, acquireTimeoutMs: 1 } })
  const free = Promise.withResolvers<void>()
  const taken = Promise.withResolvers<void>()
  const holder = db.system(async () => {
    taken.resolve()
    await free.promise
  })
  await taken.promise
  const answer = await app.inject('/v1/rows')
  t.match(answer.headers, { 'retry-after': '1', 'content-type': 'application/problem+json' })
  t.match(answer.json(), { code: 'DB_UNAVAILABLE', status: 503 })
  free.resolve()
  await holder
  t.equal((await app.inject('/v1/rows')).statusCode, 200)
})

/** Everything that a server answers to these bytes, up to the end of the connection. */
async function talk(address: AddressInfo | string | null, bytes: string): Promise<string> {
  if (address === null || typeof address === 'string') throw new Error('no port')
  const socket = connect(address.port, '127.0.0.1')
  let said = ''
  socket.setEncoding('utf8').on('data', (text) => {
    said += text
  })
  socket.write(bytes)
  await new Promise((resolve) => socket.on('close', resolve))
  return said
}
