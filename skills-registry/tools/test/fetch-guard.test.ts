import fc from 'fast-check'
import t from 'tap'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { createGuard, parseUrl } from '../capabilities/fetch/guard.ts'
import { requestHeaders, responseHeaders } from '../capabilities/fetch/headers.ts'
import { CapabilityError } from '../capability.ts'

const guard = createGuard({ ownHosts: ['agentos.example.com', 'MÜNCHEN.example.org', '8.8.4.4'] })
// As wide as a grant can be, so that nothing below is refused only because it is not in there.
const hosts = `good.example.com xn--mnchen-3ya.example.com agentos.example.com xn--mnchen-3ya.example.org 127.0.0.1
0x7f.1 localhost metadata.google.internal printer.local a.localhost x.onion 1.0.0.127.in-addr.arpa router.lan db.svc
intranet a.home.arpa evil.example.com good.example.com. [::1] 2130706433 127.1 host.docker.internal kubernetes.default.svc.cluster.local`
const permissions: Permissions = {
  fetch: [
    { host: 'get.example.com', methods: ['GET'] },
    ...hosts.split(/\s+/).map((host) => ({ host, methods: ['GET' as const, 'POST' as const] }))
  ]
}

/** 'ok', or the code of the refusal. */
function verdict(text: string, method = 'GET', granted = permissions): string {
  try {
    guard.ruleFor(granted, method, parseUrl(text))
    return 'ok'
  } catch (error) {
    if (error instanceof CapabilityError) return error.code
    throw error
  }
}
const messageOf = (text: string, method = 'GET', granted = permissions) => {
  try {
    guard.ruleFor(granted, method, parseUrl(text))
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const OK = [
  'https://good.example.com',
  'https://good.example.com/',
  'https://good.example.com:443/a?b=c#d',
  'HTTPS://GOOD.EXAMPLE.COM/',
  'https://good%2eexample.com/',
  'https://ｇood.example.com/', // one host by the parser, and it is that host that is asked
  'https://good。example．com/',
  'https://münchen.example.com/',
  'https://MÜNCHEN.example.com/',
  'https://xn--mnchen-3ya.example.com/',
  'https:good.example.com/',
  'https:///good.example.com/',
  'https://good.example.com/@evil.example.net',
  'https://good.example.com/?u=https://127.0.0.1/'
]

const DENIED = [
  // scheme
  ...['http', 'ftp', 'ws', 'wss', 'gopher', 'javascript', 'x'].map((scheme) => `${scheme}://good.example.com/`),
  ...[
    'file:///etc/passwd',
    'data:text/plain,x',
    'blob:https://good.example.com/1',
    'about:blank',
    'node:fs',
    'unix:/run/x'
  ],
  // who is asked: everything before the last @ is not the host
  'https://good.example.com@evil.example.com/',
  'https://user:password@good.example.com/',
  'https://user@good.example.com/',
  'https://:password@good.example.com/',
  'https://good.example.com:443@127.0.0.1/',
  'https://127.0.0.1%2F@good.example.com/',
  // ports
  ...[1, 22, 80, 444, 6379, 8443, 65535].map((port) => `https://good.example.com:${port}/`),
  // IPv4 in every notation that the URL standard knows
  ...[
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '127.0.0.1.',
    '0',
    '0.0.0.0',
    '2130706433',
    '0x7f000001',
    '0x7F.1',
    '0x7f.0.0.1'
  ],
  ...['0177.0.0.1', '017700000001', '0177.1', '0x7f.0x0.0x0.0x1', '0x0000007f.0.0.1', '00000177.0.0.1', '127.0x0.0.01'],
  ...['１２７.0.0.1', '127。0。0。1', '127．0．0．1', '127｡0｡0｡1', '①②⑦.0.0.1', '𝟏𝟐𝟕.𝟎.𝟎.𝟏', '%31%32%37.0.0.1'],
  ...[
    '0xa9fea9fe',
    '169.254.169.254',
    '0251.0376.0251.0376',
    '2852039166',
    '0xa9.254.0251.254',
    '8.8.8.8',
    '134744072'
  ],
  // IPv6
  ...[
    '[::]',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]'
  ],
  ...['[2002:7f00:1::]', '[2001:0:4136:e378:8000:63bf:3fff:fdd2]', '[fd00:ec2::254]', '[fe80::1]', '[ff02::1]'],
  ...['[2606:4700:4700::1111]', '[0000:0000:0000:0000:0000:ffff:a9fe:a9fe]', '[::FFFF:169.254.169.254]'],
  // names
  ...['localhost', 'LOCALHOST', 'localhost.', 'a.localhost', 'ⓛocalhost', 'loc%61lhost', 'printer.local', 'intranet'],
  ...[
    'metadata.google.internal',
    'METADATA.GOOGLE.INTERNAL',
    'host.docker.internal',
    'x.onion',
    'router.lan',
    'db.svc'
  ],
  ...['1.0.0.127.in-addr.arpa', 'a.home.arpa', 'kubernetes.default.svc.cluster.local'],
  ...['good.example.com.', 'good.example.com..', 'evil.example.net', 'example.com', 'sub.good.example.com', 'com'],
  ...['good.example.com.evil.net', 'evil-good.example.com.net', 'xn--80ak6aa92e.com', 'xn--'],
  // the platform itself
  ...['agentos.example.com', 'AgentOS.Example.com', 'münchen.example.org', '8.8.4.4']
].map((text) => (text.includes(':/') || /^[a-z]+:[^:]/.test(text) ? text : `https://${text}/`))

const INVALID = [
  ...['', ' ', '/path', 'good.example.com', '//good.example.com/', 'https', 'https:', 'https://', 'https:///', '%'],
  ...[
    'https://good.example.com:99999/',
    'https://good.example.com:port/',
    'https://256.256.256.256/',
    'https://1.2.3.4.5/'
  ],
  ...[
    'https://0x100000000/',
    'https://[::1/',
    'https://[::1%25eth0]/',
    'https://[fe80::1%eth0]/',
    'https://[::ffff:1.2.3]/'
  ],
  ...[
    'https://exa mple.com/',
    'https://good.example.com/a b',
    ' https://good.example.com/',
    'https://good.example.com/ '
  ],
  ...[
    'https://good.example.com\t/',
    'https://go\nod.example.com/',
    'ht\rtps://good.example.com/',
    'https://good.example.com/\0'
  ],
  ...['https://good.example.com/\r\nHost: evil', 'https://good.example.com/\u007f', '\u0000https://good.example.com/'],
  ...[
    'https:\\\\good.example.com/',
    'https://good.example.com\\@evil.example.com/',
    'https://evil.example.com\\.good.example.com/'
  ],
  ...[
    'https://good.example.com/\\..\\',
    'https://go\u00adod^.example.com/',
    'https://good<.example.com/',
    'https://a|b/'
  ],
  ...['https://good.example.com%00.evil.net/', 'https://%00/', 'https://good.example.com%2f/', 'https://a..%20b/'],
  ...['https://good.example.com/{{secret.API_TOKEN}}', 'https://{{secret.API_TOKEN}}.example.com/'],
  `https://good.example.com/${'a'.repeat(9000)}`
]

t.test('a declared host is let through however its URL is written', async (t) => {
  for (const text of OK) t.equal(verdict(text), 'ok', text)
})

t.test('what no skill may ask is refused however it is written, even where a grant names it', async (t) => {
  for (const text of DENIED) {
    t.equal(verdict(text), 'CAPABILITY_DENIED', JSON.stringify(text))
  }
})

t.test('what two parsers could read in two ways is no URL', async (t) => {
  for (const text of INVALID) t.equal(verdict(text), 'ARGUMENTS_INVALID', JSON.stringify(text))
})

t.test('a method is asked only where the rule of its host names it', async (t) => {
  t.equal(verdict('https://get.example.com/', 'GET'), 'ok')
  for (const method of ['HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'QUERY']) {
    t.equal(verdict('https://get.example.com/', method), 'CAPABILITY_DENIED', method)
  }
  t.equal(verdict('https://good.example.com/', 'GET', {}), 'CAPABILITY_DENIED')
  t.equal(verdict('https://good.example.com/', 'GET', { fetch: [] }), 'CAPABILITY_DENIED')
})

t.test('undeclared, of the platform, inside and not public read the same but for the name', async (t) => {
  const text = (host: string) => messageOf(`https://${host}/`).replaceAll(host, 'HOST')
  const one = text('evil.example.net')
  t.match(one, /^GET https:\/\/HOST is not allowed: /)
  for (const host of ['agentos.example.com', 'printer.local', 'db.svc', 'nothing.example.net']) t.equal(text(host), one)
  const url = parseUrl('https://good.example.com/')
  t.throws(() => guard.checkAddresses(['93.184.216.34', '10.0.0.1'], 'GET', url), {
    code: 'CAPABILITY_DENIED',
    message: one.replaceAll('HOST', 'good.example.com')
  })
  t.throws(() => guard.checkAddresses(['8.8.4.4'], 'GET', url), { code: 'CAPABILITY_DENIED' })
  guard.checkAddresses(['93.184.216.34', '2606:2800:220:1::1'], 'GET', url)
})

t.test('what is let through is exactly a granted name, whatever the text', async () => {
  const nasty = fc.constantFrom(
    ...'@:/\\?#%.[]0x7fF\t\n 。．１'.split(''),
    'good.example.com',
    '127.0.0.1',
    'localhost',
    '%40',
    '::'
  )
  const texts = fc.array(nasty, { maxLength: 8 }).map((parts) => `https://${parts.join('')}`)
  fc.assert(
    fc.property(texts, (text) => {
      if (verdict(text) !== 'ok') return true
      const url = parseUrl(text)
      return url.hostname === 'good.example.com' && url.origin === 'https://good.example.com' && url.username === ''
    }),
    { numRuns: 3000 }
  )
})

t.test('headers of transport, of proxies and of other methods are not for a skill to set', async (t) => {
  const names = `Host host Connection Keep-Alive TE Trailer Transfer-Encoding Content-Length Upgrade Expect HTTP2-Settings
    Accept-Encoding Via Forwarded X-Forwarded-For X-Forwarded-Host X-Real-IP Proxy-Authorization Proxy-Connection
    Sec-Fetch-Site Sec-WebSocket-Key X-HTTP-Method X-HTTP-Method-Override X-Method-Override`
  for (const name of names.trim().split(/\s+/)) {
    t.throws(() => requestHeaders([[name, 'x']]), { code: 'CAPABILITY_DENIED' }, name)
  }
})

t.test('what is no header is refused before anything is sent', async (t) => {
  const bad: [string, string][] = [
    ['x', 'a\r\nHost: evil'],
    ['x', 'a\nb'],
    ['x', 'a\rb'],
    ['x', 'a\0b'],
    ['x', 'a\u0085b'],
    ['x', 'a\u2028b'],
    ['x', 'a\u010d\u010ab'], // latin1 would cut them to CR LF
    ['x', 'ä'],
    ['x\r\nHost', 'evil'],
    ['x:', 'a'],
    ['x y', 'a'],
    ['', 'a'],
    ['ｈost', 'a'],
    ['host\0', 'a'],
    [' host', 'a']
  ]
  for (const pair of bad)
    t.throws(() => requestHeaders([pair]), { code: 'ARGUMENTS_INVALID' }, encodeURIComponent(pair.join(': ')))
  const many = Array.from({ length: 65 }, (_, i): [string, string] => [`x-${i}`, ''])
  t.throws(() => requestHeaders(many), { code: 'ARGUMENTS_INVALID' })
  t.throws(() => requestHeaders([['x', 'a'.repeat(17_000)]]), { code: 'ARGUMENTS_INVALID' })
  t.strictSame(requestHeaders([['X-Api', ' \ta b\t']]), [['x-api', 'a b']])
})

t.test('an answer is given without cookies and without what is said to browsers or proxies', async (t) => {
  const given = responseHeaders([
    ['set-cookie', 'a=b'],
    ['content-type', 'text/plain'],
    ['content-encoding', 'gzip'],
    ['content-length', '20'],
    ['alt-svc', 'h3=":443"'],
    ['proxy-authenticate', 'x'],
    ['x-other', '1'],
    ['x-other', '2']
  ])
  t.strictSame(given, [
    ['content-type', 'text/plain'],
    ['x-other', '1'],
    ['x-other', '2']
  ])
  t.strictSame(responseHeaders([['content-length', '20']]), [['content-length', '20']])
})

t.test('a name of the platform is denied however its operator spelled it, and a misspelled one is told', async (t) => {
  const own = createGuard({ ownHosts: ['Agents.Example.com.'] })
  const url = parseUrl('https://agents.example.com/')
  const granted = { fetch: [{ host: url.hostname, methods: ['GET' as const] }] }
  t.throws(() => own.ruleFor(granted, 'GET', url), { code: 'CAPABILITY_DENIED' })
  t.equal(createGuard({}).ruleFor(granted, 'GET', url).host, url.hostname)
  for (const entry of ['', '.', 'a b', 'https://agents.example.com'])
    t.throws(() => createGuard({ ownHosts: [entry] }), { message: /is no host name/ }, entry)
})
