import type { ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t from 'tap'
import { FakeClock } from '#test/support/fake-clock.ts'
import { until } from '#test/support/until.ts'
import { FETCH_LIMITS } from '../capabilities/fetch/journey.ts'
import { Turns } from '../turns.ts'
import { answer, fetchWorld } from './support/fetch-world.ts'

const w = await fetchWorld(t)
const api = 'https://api.example.com'
const code = async (...args: Parameters<typeof w.refused>) => (await w.refused(...args)).code

t.test('a request goes out as the skill wrote it and the answer comes back exact', async (t) => {
  w.on('/echo', (_request, response, body) =>
    response.writeHead(201, { 'content-type': 'application/json', 'x-a': ['1', '2'], 'set-cookie': 'a=b' }).end(body)
  )
  const got = await w.fetch({
    url: `${api}/echo?q=1#part`,
    method: 'post',
    headers: [['X-Api-Version', '2']],
    body: { text: '{"ä":"☃"}' }
  })
  t.match(got, { url: `${api}/echo?q=1`, status: 201, statusText: 'Created', redirected: false })
  t.strictSame(got.body, { text: '{"ä":"☃"}' })
  t.strictSame(
    got.headers.filter(([name]) => name !== 'date'),
    [
      ['content-type', 'application/json'],
      ['x-a', '1'],
      ['x-a', '2']
    ]
  )
  const [seen] = w.seen
  t.match(seen, { method: 'POST', url: '/echo?q=1' })
  t.match(seen?.headers, {
    host: 'api.example.com',
    'x-api-version': '2',
    'content-type': 'text/plain;charset=UTF-8',
    'content-length': '12',
    'user-agent': 'agentos',
    'idempotency-key': 'session/s',
    connection: 'close'
  })
  t.notOk(seen?.headers.authorization)
  t.match(got.entry, {
    action: 'tool.fetched',
    subject: 'host:api.example.com',
    details: {
      method: 'POST',
      host: 'api.example.com',
      path: '/echo',
      status: 201,
      bytesOut: 12,
      bytesIn: 12,
      redirects: 0
    }
  })
  t.match(got.entry.details, { skill: '@acme/one', version: '1.0.0', secret: null, ms: Number })
})

t.test('bytes go both ways as base64, and text only where it is exact', async (t) => {
  w.on('/echo', (_request, response, body) => response.end(body))
  const bytes = Buffer.from([0, 1, 2, 255, 254, 10])
  const got = await w.fetch({ url: `${api}/echo`, method: 'PUT', body: { base64: bytes.toString('base64') } })
  t.strictSame(got.body, { base64: bytes.toString('base64') })
  t.notOk(w.seen[0]?.headers['content-type'])
  w.on('/bom', answer({}, '\ufeffa\0b'))
  t.strictSame((await w.fetch({ url: `${api}/bom` })).body, { text: '\ufeffa\0b' })
  w.on('/half', answer({ 'content-type': 'text/plain; charset=utf-8' }, Buffer.from([0x61, 0xc3])))
  t.strictSame((await w.fetch({ url: `${api}/half` })).body, { base64: 'YcM=' })
  // Each of its characters takes six in JSON: as text it would not fit into a host call's answer.
  w.on('/control', answer({}, Buffer.alloc(FETCH_LIMITS.bodyBytes, 1)))
  const { entry: _, ...control } = await w.fetch({ url: `${api}/control` })
  t.ok('base64' in control.body)
  t.ok(JSON.stringify(control).length < 1024 * 1024)
})

t.test('an idempotency key belongs to the place of the call, not to the attempt', async (t) => {
  const keyOf = async (request: object, n: number) => {
    await w.fetch({ url: `${api}/`, ...request }, { n })
    return w.seen.at(-1)?.headers['idempotency-key']
  }
  t.equal(await keyOf({ method: 'POST' }, 1), 'session/s')
  t.equal(await keyOf({ method: 'DELETE' }, 3), 'session/s/3')
  t.equal(await keyOf({ method: 'GET' }, 4), undefined)
  t.equal(await keyOf({ method: 'POST', headers: [['Idempotency-Key', 'mine']] }, 5), 'mine')
})

t.test('what a skill may not ask for touches neither DNS nor a socket', async (t) => {
  const denied = [
    { url: 'https://evil.example.com/' },
    { url: 'http://api.example.com/' },
    { url: 'https://127.0.0.1/' },
    { url: 'https://[::ffff:127.0.0.1]/' },
    { url: 'https://0x7f.1/' },
    { url: 'https://api.example.com@evil.example.com/' },
    { url: `${api}/`, method: 'TRACE' },
    { url: `${api}/`, method: 'POST', headers: [['X-HTTP-Method-Override', 'DELETE']] },
    { url: `${api}/`, headers: [['Host', 'evil.example.com']] }
  ]
  for (const request of denied) t.equal(await code(request), 'CAPABILITY_DENIED', JSON.stringify(request))
  const invalid = [
    { url: `${api}/`, headers: [['x', 'a\r\nHost: evil']] },
    { url: `${api}/\r\nHost: evil` },
    { url: `${api}/`, body: { text: 'a GET with a body' } },
    { url: `${api}/`, method: 'POST', body: { base64: '***' } },
    { url: `${api}/`, method: 'GET /x HTTP/1.1\r\nX' },
    { url: `${api}/`, redirect: 'maybe' },
    { url: `${api}/`, port: 80 }
  ]
  for (const request of invalid) t.equal(await code(request), 'ARGUMENTS_INVALID', JSON.stringify(request))
  t.strictSame([w.asked.length, w.sockets.length], [0, 0])
})

t.test('every address that DNS gives must be open: one private among public ones is a trap', async (t) => {
  const traps = [
    ['127.0.0.1', '10.0.0.1'],
    ['127.0.0.1', '::1'],
    ['127.0.0.1', '127.0.0.2'],
    ['93.184.216.34', '169.254.169.254'],
    ['127.0.0.1', '::ffff:127.0.0.1'],
    ['127.0.0.1', 'fe80::1%lo'],
    ['127.0.0.1', '64:ff9b::7f00:1'],
    ['127.0.0.1', 'no address'],
    ['0.0.0.0']
  ]
  for (const addresses of traps) {
    w.dns(addresses)
    t.equal(await code({ url: `${api}/` }), 'CAPABILITY_DENIED', addresses.join())
  }
  t.equal(w.sockets.length, 0)
  t.equal(w.asked.length, traps.length)
})

t.test('a name is asked once: what it says the second time is for nobody', async (t) => {
  const answers = [['127.0.0.1'], ['127.0.0.2'], ['127.0.0.1']]
  w.dns(() => answers.shift() ?? [])
  t.equal((await w.fetch({ url: `${api}/` })).status, 200)
  t.equal(w.asked.length, 1)
  t.equal(await code({ url: `${api}/` }), 'CAPABILITY_DENIED', 'the next request asks and checks anew')
  t.equal(w.sockets.length, 1)
  // The hop of a redirect is a request of its own.
  w.on('/again', answer({ location: '/' }, '', 302))
  const rebinding = [['127.0.0.1'], ['10.0.0.1']]
  w.dns(() => rebinding.shift() ?? [])
  t.equal(await code({ url: `${api}/again` }), 'CAPABILITY_DENIED')
  t.equal(w.sockets.length, 2)
})

t.test('the next address is tried where one does not answer, and no other than those', async (t) => {
  const deps = { allowAddresses: ['127.0.0.0/29'] }
  w.dns(['127.0.0.2', '127.0.0.1'])
  t.equal((await w.fetch({ url: `${api}/` }, { deps })).status, 200)
  w.dns(['127.0.0.2', '127.0.0.3'])
  t.match(await w.refused({ url: `${api}/` }, { deps }), {
    code: 'FETCH_FAILED',
    message: /cannot be reached \(ECONNREFUSED\)/
  })
  w.dns([])
  t.match(await w.refused({ url: `${api}/` }), {
    code: 'FETCH_FAILED',
    message: 'DNS has no address for api.example.com'
  })
  w.dns(() => {
    throw Object.assign(new Error('queryA ENOTFOUND at 10.1.1.1'), { code: 'ENOTFOUND' })
  })
  t.match(await w.refused({ url: `${api}/` }), { message: 'DNS has no address for api.example.com (ENOTFOUND)' })
})

t.test('the certificate must be the host name’s, and trusted', async (t) => {
  const permissions = { fetch: [{ host: 'wrong.example.com', methods: ['GET' as const] }] }
  t.match(await w.refused({ url: 'https://wrong.example.com/' }, { permissions }), {
    code: 'FETCH_FAILED',
    message: /no trusted TLS connection to wrong\.example\.com/
  })
  const deps = { connect: { port: w.port } }
  t.match(await w.refused({ url: `${api}/` }, { deps }), { code: 'FETCH_FAILED', message: /no trusted TLS connection/ })
  t.equal(w.seen.length, 0)
})

t.test('redirects are followed three times, each checked as if it were the first request', async (t) => {
  for (const i of [1, 2, 3, 4, 5]) w.on(`/${i}`, answer({ location: `/${i - 1}` }, '', 302))
  const got = await w.fetch({ url: `${api}/3` })
  t.match(got, { url: `${api}/0`, status: 200, redirected: true, entry: { details: { redirects: 3, path: '/3' } } })
  t.match(await w.refused({ url: `${api}/4` }), { code: 'FETCH_FAILED', message: /one redirect more than the 3/ })
  w.on('/loop', answer({ location: '/loop' }, '', 301))
  t.equal(await code({ url: `${api}/loop` }), 'FETCH_FAILED')
  t.equal(w.sockets.length, 12, 'one connection for each hop')

  const bad: [string, string][] = [
    ['https://169.254.169.254/latest/meta-data/', 'CAPABILITY_DENIED'],
    ['http://169.254.169.254/latest/meta-data/', 'CAPABILITY_DENIED'],
    ['http://api.example.com/', 'CAPABILITY_DENIED'],
    ['//0x7f.1/', 'CAPABILITY_DENIED'],
    ['https://api.example.com:8443/', 'CAPABILITY_DENIED'],
    ['https://x:y@api.example.com/', 'CAPABILITY_DENIED'],
    ['https://localhost/', 'CAPABILITY_DENIED'],
    ['https://undeclared.example.com/', 'CAPABILITY_DENIED'],
    ['\\\\169.254.169.254\\', 'CAPABILITY_DENIED'],
    ['file:///etc/passwd', 'CAPABILITY_DENIED'],
    ['data:text/plain,x', 'CAPABILITY_DENIED'],
    ['https://[::1', 'FETCH_FAILED']
  ]
  for (const [location, expected] of bad) {
    w.on('/bad', answer({ location }, '', 302))
    w.asked.length = 0
    t.equal(await code({ url: `${api}/bad` }), expected, location)
    t.strictSame(w.asked, ['api.example.com'])
  }
})

t.test('a redirect changes the method as in browsers, and the new one needs a rule too', async (t) => {
  const after = async (status: number, method: string, location = '/done') => {
    w.on('/go', answer({ location }, '', status))
    const body = method === 'GET' ? {} : { body: { text: 'b' } }
    await w.fetch({
      url: `${api}/go`,
      method,
      headers: [
        ['authorization', 'mine'],
        ['cookie', 'c'],
        ['x-own', '1']
      ],
      ...body
    })
    const { method: last, body: sent, headers } = w.seen.at(-1) as (typeof w.seen)[number]
    return `${last} ${sent.length} ${headers['content-type'] ?? '-'} ${headers['idempotency-key'] ?? '-'} ${headers.authorization ?? '-'} ${headers.cookie ?? '-'} ${headers['x-own']}`
  }
  t.equal(await after(301, 'POST'), 'GET 0 - - mine c 1')
  t.equal(await after(302, 'POST'), 'GET 0 - - mine c 1')
  t.equal(await after(303, 'PUT'), 'GET 0 - - mine c 1')
  t.equal(await after(302, 'PUT'), 'PUT 1 text/plain;charset=UTF-8 session/s mine c 1')
  t.equal(await after(307, 'POST'), 'POST 1 text/plain;charset=UTF-8 session/s mine c 1')
  t.equal(await after(308, 'POST', 'https://other.example.com/done'), 'POST 1 text/plain;charset=UTF-8 session/s - - 1')
  const permissions = { fetch: [{ host: 'api.example.com', methods: ['POST' as const] }] }
  w.on('/go', answer({ location: '/done' }, '', 303))
  t.match(await w.refused({ url: `${api}/go`, method: 'POST' }, { permissions }), {
    code: 'CAPABILITY_DENIED',
    message: /^GET https:/
  })
})

t.test('a redirect is given or refused where the skill says so', async (t) => {
  w.on('/go', answer({ location: 'https://169.254.169.254/' }, 'moved', 302))
  const got = await w.fetch({ url: `${api}/go`, redirect: 'manual' })
  t.match(got, { status: 302, redirected: false, body: { text: 'moved' } })
  t.match(new Map(got.headers as [string, string][]).get('location'), 'https://169.254.169.254/')
  t.equal(await code({ url: `${api}/go`, redirect: 'error' }), 'FETCH_FAILED')
  w.on('/go', answer({}, 'no location', 302))
  t.equal((await w.fetch({ url: `${api}/go` })).status, 302)
})

t.test('ten seconds are for everything: DNS, headers, body', async (t) => {
  w.on('/headers', (request) => void request.socket.write('HTTP/1.1 200 OK\r\nX: '))
  w.on('/body', (_request, response) => {
    response.writeHead(200, { 'content-length': '10' })
    response.write('a')
  })
  const late = async (path: string, begun: () => unknown) => {
    const clock = new FakeClock()
    const refused = w.refused({ url: `${api}${path}` }, { deps: { clock } })
    await until(begun, `${path} has begun`)
    await clock.advance(9_999)
    await clock.advance(1)
    return await refused
  }
  const timeout = { code: 'FETCH_TIMEOUT', message: 'the answer was not complete after 10000 ms' }
  t.strictSame(await late('/headers', () => w.seen.length === 1), timeout)
  t.strictSame(await late('/body', () => w.seen.length === 2), timeout)
  w.dns(() => new Promise(() => {}))
  t.strictSame(await late('/', () => w.asked.length === 3), timeout)
  await until(() => w.sockets.every(({ destroyed }) => destroyed), 'no socket is left')
})

t.test(
  'a host that takes the connection and never speaks TLS is given up, and so is a call that ends meanwhile',
  async (t) => {
    const taken: Socket[] = []
    const mute = createServer((socket) => void taken.push(socket.on('error', () => {})))
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
    t.teardown(() => mute.close())
    const clock = new FakeClock()
    const deps = { clock, connect: { port: (mute.address() as AddressInfo).port } }
    const slow = w.refused({ url: `${api}/` }, { deps })
    await until(() => taken.length === 1, 'it is connected')
    await clock.advance(3000)
    t.match(await slow, { code: 'FETCH_FAILED', message: 'api.example.com cannot be reached (ETIMEDOUT)' })
    const ended = new AbortController()
    const left = w.refused({ url: `${api}/` }, { deps, signal: ended.signal })
    await until(() => taken.length === 2, 'it is connected again')
    ended.abort()
    t.match(await left, { code: 'FETCH_FAILED', message: /^the tool call ended/ })
    t.equal(clock.pending, 0, 'no timer is left')
    for (const socket of taken) socket.resume()
    await until(() => taken.every(({ destroyed }) => destroyed), 'both are closed')
  }
)

t.test('the end of the tool call ends its request and closes the socket', async (t) => {
  w.on('/hang', () => {})
  const ended = new AbortController()
  const refused = w.refused({ url: `${api}/hang`, method: 'POST' }, { signal: ended.signal })
  await until(() => w.seen.length === 1, 'the request has arrived')
  ended.abort()
  t.match(await refused, { code: 'FETCH_FAILED', message: /^the tool call ended/ })
  await until(() => w.sockets.every(({ destroyed }) => destroyed), 'the socket is closed')
  t.equal(await code({ url: `${api}/hang` }, { signal: ended.signal }), 'FETCH_FAILED')
  t.equal(w.sockets.length, 1)
})

t.test('so many requests of a tenant are under way at once; one that waits leaves with its call', async (t) => {
  const held: ServerResponse[] = []
  w.on('/held', (_request, response) => held.push(response))
  const ended = new AbortController()
  const deps = { turns: new Turns({ perTenant: 2, inAll: 64 }) }
  const asked = [1, 2, 3, 4].map(() => w.fetch({ url: `${api}/held` }, { deps }))
  const left = w.refused({ url: `${api}/held` }, { deps, signal: ended.signal })
  await until(() => held.length === 2, 'two are there')
  t.equal(w.sockets.length, 2, 'the others have not been connected, nor asked for')
  t.equal(w.asked.length, 2)
  ended.abort()
  for (let i = 0; i < 4; i++) {
    await until(() => held.length > i, 'the next one is there')
    held[i]?.end('done')
  }
  t.strictSame(
    (await Promise.all(asked)).map(({ status }) => status),
    [200, 200, 200, 200]
  )
  t.match(await left, { code: 'FETCH_FAILED', message: /^the tool call ended/ })
  t.equal(w.sockets.length, 4)
})

t.test('what was sent stands in the audit log also when nothing good came back', async (t) => {
  w.on('/fails', (request) => void request.socket.destroy())
  await w.refused({ url: `${api}/fails`, method: 'POST', body: { text: 'abc' } })
  const rows = await w.db.tenant(
    w.acme.tenantId,
    (tx) => tx<{ details: object; actor: string }[]>`
    select details, actor_id as actor from audit.entry where action = 'tool.fetched' and details->>'path' = '/fails'`
  )
  t.match(rows, [{ actor: '@acme/one', details: { method: 'POST', status: null, bytesOut: 3, error: 'FETCH_FAILED' } }])
})
