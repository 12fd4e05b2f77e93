import t from 'tap'
import { Secret } from '#core/secret.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { createMask } from '../capabilities/fetch/mask.ts'
import { fetchWorld, type More } from './support/fetch-world.ts'

const w = await fetchWorld(t)
const api = 'https://api.example.com'
const value = 'tok/"se+cr=et&<1>\'9'
const put = async (name: string, text: string, skill = '@acme/one', hosts: string[] | null = null) => {
  await w.db.tenant(w.acme.tenantId, async (tx) => {
    await w.app.vault.put(tx, name, new Secret(text))
    await w.app.vault.grant(tx, name, { kind: 'skill', grantee: skill }, hosts)
  })
}
await put('API_TOKEN', value)
await put('OTHER_TOKEN', 'the-other-value')
await put('NOT_MINE', 'not-mine-at-all', '@acme/two')
await put('FOR_OTHER', 'only-for-the-other', '@acme/one', ['other.example.com'])

const rule = (host: string, secret?: string, methods: ('GET' | 'POST')[] = ['GET', 'POST']) => ({
  host: `${host}.example.com`,
  methods,
  ...(secret ? { secret } : {})
})
const grants = (...fetch: NonNullable<Permissions['fetch']>): More => ({ permissions: { fetch } })
const withToken = grants(rule('api', 'API_TOKEN'), rule('other', 'OTHER_TOKEN'), rule('plain'))
const sent = (header = 'authorization') => w.seen.map(({ headers }) => headers[header])

t.test('the secret of a rule is sent as a bearer token, or where the skill says', async (t) => {
  const got = await w.fetch({ url: `${api}/` }, withToken)
  t.strictSame(sent(), [`Bearer ${value}`])
  t.match(got.entry.details, { secret: 'API_TOKEN' })
  t.notMatch(JSON.stringify(got), value)
  await w.fetch({ url: `${api}/`, headers: [['X-Api-Key', '{{secret.API_TOKEN}}']] }, withToken)
  t.equal(w.seen[1]?.headers['x-api-key'], value)
  t.equal(w.seen[1]?.headers.authorization, undefined)
  await w.fetch(
    { url: `${api}/`, headers: [['authorization', 'Token a={{secret.API_TOKEN}}, b={{secret.API_TOKEN}}']] },
    withToken
  )
  t.equal(w.seen[2]?.headers.authorization, `Token a=${value}, b=${value}`)
  await w.fetch({ url: 'https://plain.example.com/', headers: [['authorization', 'mine']] }, withToken)
  t.equal(w.seen[3]?.headers.authorization, 'mine')
})

t.test('only the secret of the rule goes to its host, and never in a URL or a body', async (t) => {
  const header = (text: string) => [['x-key', text]]
  const denied: [string, string][] = [
    ['https://api.example.com/', '{{secret.OTHER_TOKEN}}'],
    ['https://plain.example.com/', '{{secret.API_TOKEN}}'],
    ['https://api.example.com/', '{{secret.API_TOKEN}} {{secret.OTHER_TOKEN}}'],
    ['https://api.example.com/', '{{secret.ABSENT}}']
  ]
  for (const [url, text] of denied) {
    t.equal((await w.refused({ url, headers: header(text) }, withToken)).code, 'CAPABILITY_DENIED', text)
  }
  const invalid = [
    { url: `${api}/{{secret.API_TOKEN}}` },
    { url: `${api}/`, headers: header('{{secret.lower}}') },
    { url: `${api}/`, headers: header('{{secret.API_TOKEN}') },
    { url: `${api}/`, headers: [['authorization', 'mine']] }
  ]
  for (const request of invalid) t.equal((await w.refused(request, withToken)).code, 'ARGUMENTS_INVALID')
  t.strictSame([w.seen.length, w.asked.length], [0, 0])
  await w.fetch({ url: `${api}/`, method: 'POST', body: { text: '{{secret.API_TOKEN}}' } }, withToken)
  t.equal(w.seen[0]?.body.toString(), '{{secret.API_TOKEN}}', 'a body is not ours to change')
})

t.test('absent, not granted and granted for another host read the same', async (t) => {
  const text = async (secret: string, more: More = {}) => {
    const { code, message } = await w.refused({ url: `${api}/` }, { ...grants(rule('api', secret)), ...more })
    t.equal(code, 'CAPABILITY_DENIED')
    return message.replaceAll(secret, 'NAME')
  }
  const absent = await text('ABSENT')
  t.match(absent, /^secret NAME may not be sent to api\.example\.com: /)
  t.equal(await text('NOT_MINE'), absent)
  t.equal(await text('FOR_OTHER'), absent)
  t.equal(await text('API_TOKEN', { skill: '@acme/two' }), absent)
  t.equal(
    (await w.refused({ url: `${api}/`, headers: [['x', '{{secret.ABSENT}}']] }, withToken)).message.replaceAll(
      'ABSENT',
      'NAME'
    ),
    absent
  )
  t.equal(w.seen.length, 0)
})

t.test('a grant for a host holds for that host', async (t) => {
  await w.fetch({ url: 'https://other.example.com/' }, grants(rule('other', 'FOR_OTHER')))
  t.strictSame(sent(), ['Bearer only-for-the-other'])
})

t.test('a secret goes only where each skill of the chain was granted it', async (t) => {
  await w.db.tenant(w.acme.tenantId, (tx) =>
    w.app.vault.grant(tx, 'FOR_OTHER', { kind: 'skill', grantee: '@acme/above' }, null)
  )
  const asked = grants(rule('other', 'FOR_OTHER'))
  await w.fetch({ url: 'https://other.example.com/' }, { ...asked, callers: ['@acme/above', '@acme/one'] })
  t.strictSame(sent(), ['Bearer only-for-the-other'])
  const denied = { code: 'CAPABILITY_DENIED', message: /^secret FOR_OTHER may not be sent to other/ }
  for (const callers of [['@acme/stranger'], ['@acme/above', '@acme/stranger'], ['@acme/stranger', '@acme/above']]) {
    t.match(await w.refused({ url: 'https://other.example.com/' }, { ...asked, callers }), denied)
  }
  t.equal(w.seen.length, 1)
})

t.test('a value that no header can hold is refused without being told', async (t) => {
  for (const bad of [
    'line\nbreak',
    'trailing ',
    'ünïcode-value',
    'abc',
    'nul\0byte',
    'carriage\r\nHost: evil',
    'x'.repeat(9000)
  ]) {
    await put('BAD', bad)
    const { code, message } = await w.refused({ url: `${api}/` }, grants(rule('api', 'BAD')))
    t.equal(code, 'FETCH_FAILED', JSON.stringify(bad))
    t.match(message, /^secret BAD is not sent, /)
    t.notMatch(message, bad)
  }
  t.equal(w.seen.length, 0)
})

const b64 = (text: string) => Buffer.from(text).toString('base64')
const escaped = (text: string) => JSON.stringify(text).slice(1, -1)
const hex = Buffer.from(value).toString('hex')
const echoes: Record<string, string | Buffer> = {
  raw: value,
  'inside other text': `Authorization: Bearer ${value}, ${value}`,
  json: JSON.stringify({ authorization: `Bearer ${value}` }),
  'json in json': JSON.stringify(JSON.stringify({ a: value })),
  'json with every character escaped': [...value]
    .map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join(''),
  url: encodeURIComponent(value),
  'url, lower case': encodeURIComponent(value).replaceAll(/%../g, (code) => code.toLowerCase()),
  'url, every character': hex.replaceAll(/../g, '%$&'),
  form: new URLSearchParams({ a: value }).toString(),
  base64: b64(value),
  'base64 of a basic header': b64(`user:${value}`),
  'base64 with one more before': b64(`x${value}yz`),
  'base64 with two more before': b64(`xx${value}`),
  base64url: Buffer.from(value).toString('base64url'),
  hex,
  'hex, upper case': hex.toUpperCase(),
  'hex dump': hex.replaceAll(/../g, '$& '),
  'hex with colons': hex.replaceAll(/../g, '$&:'),
  'escapes of a string': hex.replaceAll(/../g, '\\x$&'),
  html: value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;'),
  'utf-16': Buffer.from(`${value}x`, 'utf16le'),
  'utf-16, other order': Buffer.from(`${value}x`, 'utf16le').swap16(),
  'among bytes': Buffer.concat([Buffer.from([0, 255, 254, 128]), Buffer.from(value), Buffer.from([255])])
}

t.test('a host that says the secret back says [secret] to the skill, in any usual encoding', async (t) => {
  for (const [name, echo] of Object.entries(echoes)) {
    w.on('/echo', (_request, response) => response.end(echo))
    const { body } = await w.fetch({ url: `${api}/echo` }, withToken)
    const bytes = 'text' in body ? Buffer.from(body.text) : Buffer.from(body.base64, 'base64')
    t.ok(bytes.includes('[secret]'), name)
    for (const form of [value, b64(value), hex, escaped(value), encodeURIComponent(value)]) {
      t.notOk(
        bytes.toString('latin1').replaceAll('\0', '').toLowerCase().includes(form.toLowerCase()),
        `${name}: ${form}`
      )
    }
  }
  w.on('/echo', (request, response) => response.end(JSON.stringify({ headers: request.headers, fine: true })))
  const { body } = await w.fetch({ url: `${api}/echo` }, withToken)
  t.match(JSON.parse('text' in body ? body.text : ''), { fine: true, headers: { authorization: 'Bearer [secret]' } })
})

t.test('neither do headers, status text, address, errors, the audit log or the server log say it', async (t) => {
  const plain = 'plain-token-value-4711'
  await put('PLAIN', plain)
  const permissions = grants(rule('api', 'PLAIN'))
  w.on('/in-headers', (_request, response) =>
    response
      .writeHead(200, plain, { 'x-echo': `Bearer ${plain}`, [`x-${plain}`]: '1', 'www-authenticate': b64(plain) })
      .end()
  )
  const got = await w.fetch({ url: `${api}/in-headers` }, permissions)
  t.match(got, { statusText: '[secret]' })
  t.match(
    new Map(got.headers as [string, string][]),
    new Map([
      ['x-echo', 'Bearer [secret]'],
      ['x-[secret]', '1'],
      ['www-authenticate', '[secret]']
    ])
  )

  w.on('/to-itself', (_request, response) => response.writeHead(302, { location: `/${plain}?t=${plain}` }).end())
  const redirected = await w.fetch({ url: `${api}/to-itself` }, permissions)
  t.equal(redirected.url, `${api}/[secret]?t=[secret]`)
  const manual = await w.fetch({ url: `${api}/to-itself`, redirect: 'manual' }, permissions)
  t.equal(new Map(manual.headers as [string, string][]).get('location'), '/[secret]?t=[secret]')

  const errors: unknown[] = []
  for (const text of [
    `${plain}\r\n\r\n`,
    `HTTP/1.1 200 ${plain}\r\n${plain}\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nContent-Encoding: ${plain}\r\n\r\n`
  ]) {
    w.on('/broken', (request) => void request.socket.end(text))
    errors.push(await w.refused({ url: `${api}/broken` }, permissions))
  }
  w.on('/broken', (_request, response) => response.writeHead(302, { location: `https://[${plain}` }).end())
  errors.push(await w.refused({ url: `${api}/broken` }, permissions))
  w.on('/broken', (_request, response) => response.writeHead(302, { location: `https://${plain}.example.net/` }).end())
  errors.push(await w.refused({ url: `${api}/broken` }, permissions))
  const rows = await w.db.tenant(w.acme.tenantId, (tx) => tx`select * from audit.entry`)
  for (const text of [got, redirected, manual, errors, rows, w.lines]) t.notMatch(JSON.stringify(text), plain)
  t.equal(rows.filter(({ action }) => action === 'tool.fetched').length, errors.length)
})

t.test('a redirect takes the secret nowhere: another host gets none, not even its own', async (t) => {
  const go = async (location: string, more = withToken, headers: [string, string][] = []) => {
    w.seen.length = 0
    w.on('/go', (_request, response) => response.writeHead(307, { location }).end())
    await w.fetch({ url: `${api}/go`, headers }, more)
    return w.seen.map(({ headers }) => headers.authorization ?? headers['x-key'])
  }
  const bearer = `Bearer ${value}`
  t.strictSame(await go('/'), [bearer, bearer])
  t.strictSame(
    await go('https://other.example.com/'),
    [bearer, undefined],
    'or one host could act at another as the tenant'
  )
  t.strictSame(await go('https://plain.example.com/'), [bearer, undefined])
  const named: [string, string][] = [['x-key', '{{secret.API_TOKEN}}']]
  t.strictSame(await go('/', withToken, named), [value, value])
  t.strictSame(await go('https://plain.example.com/', withToken, named), [value, undefined])
  t.strictSame(await go('https://other.example.com/', withToken, named), [value, undefined])
  w.on('/back', (_request, response) => response.writeHead(307, { location: `${api}/` }).end())
  t.strictSame(await go('https://other.example.com/back'), [bearer, undefined, undefined])

  w.on('/go', (_request, response) => response.writeHead(303, { location: '/' }).end())
  w.seen.length = 0
  const posts = grants(rule('api', 'API_TOKEN', ['POST']), rule('api', undefined, ['GET']))
  await w.fetch({ url: `${api}/go`, method: 'POST' }, posts)
  t.strictSame(sent(), [bearer, undefined], 'the rule of GET has none')

  for (const form of [encodeURIComponent(value), b64(value).replaceAll('=', ''), hex]) {
    w.on('/go', (_request, response) =>
      response.writeHead(302, { location: `https://plain.example.com/?t=${form}` }).end()
    )
    w.asked.length = 0
    t.match(await w.refused({ url: `${api}/go` }, withToken), {
      code: 'CAPABILITY_DENIED',
      message: /a redirect that holds the secret/
    })
    t.strictSame(w.asked, ['api.example.com'])
  }
  w.on('/go', (_request, response) => response.writeHead(302, { location: 'https://other.example.com/both' }).end())
  w.on('/both', (_request, response) => response.end(`${value} the-other-value`))
  t.strictSame(
    (await w.fetch({ url: `${api}/go` }, withToken)).body,
    { text: '[secret] the-other-value' },
    'what was sent to the first hop is masked at the last'
  )
})

t.test('a vault that fails is our failure: nothing is sent', async (t) => {
  const secrets = () => ({
    reveal: async () => {
      throw Object.assign(new Error('does not open'), { code: 'VAULT_UNREADABLE' })
    }
  })
  await t.rejects(w.fetch({ url: `${api}/` }, { ...withToken, deps: { secrets } }), { code: 'VAULT_UNREADABLE' })
  t.equal(w.seen.length, 0)
})

t.test('masking costs the same for whatever secret and answer somebody chose', async (t) => {
  const many = 'a'.repeat(8000)
  const secrets = [many, `${many}b`, `b${many}`, 'ab'.repeat(4000), value, 'postgres://user:pa55word@host/db']
  const texts = ['a', 'ab', 'b', '\0', '\\u0061', 'YWFh', 'ab "quoted" text ', 'aB']
  const before = process.cpuUsage()
  for (const secret of secrets) {
    const mask = createMask([new Secret(secret)])
    for (const text of texts) mask.bytes(Buffer.alloc(700 * 1024, text))
  }
  const ms = process.cpuUsage(before).user / 1000 / secrets.length / texts.length
  t.comment(`${Math.round(ms)} ms each`)
  t.ok(ms < 500, `${ms} ms each`) // seconds, were it the square
})

t.test('a part of a longer text is masked and the rest is left as it is', async (t) => {
  const jwt = (payload: string) => `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.${payload}.${b64(`signature of ${payload}`)}`
  const mask = createMask([new Secret(jwt('mine-mine-mine')), new Secret('postgres://user:pa55word@host/db')])
  t.equal(mask.text(`a ${jwt('mine-mine-mine')} b ${jwt('other')} c`), `a [secret] b ${jwt('other')} c`)
  t.equal(mask.text('ÄÖ☃ PA55WORD is user'), 'ÄÖ☃ [secret] is user')
  t.equal(mask.text(jwt('mine-mine-mine').slice(10)), '[secret]', 'cut off at its start')
  t.equal(mask.text('ends in pa55wor'), 'ends in pa55wor')
  t.equal(createMask([new Secret('abcd')]).text('ABCDabcd abcabcd'), '[secret][secret] abc[secret]')
  t.equal(createMask([]).text(value), value)
})

t.test('an answer that masking makes too long is refused', async (t) => {
  await put('SHORT', 'abcd')
  w.on('/short', (_request, response) => response.end(Buffer.alloc(600 * 1024, 'abcd')))
  t.match(await w.refused({ url: `${api}/short` }, grants(rule('api', 'SHORT'))), { code: 'FETCH_TOO_LARGE' })
})
