// ctx.fetch and Headers: what reaches the host, and what the author gets of its answer; Headers held to node's own.
import t from 'tap'
import { fakeHost, refusal } from './fake-host.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const page = (more: object = {}) => ({
  url: 'https://a.example/',
  status: 200,
  statusText: 'OK',
  headers: [['content-type', 'application/json']],
  redirected: false,
  body: { text: '{"a":[1]}' },
  ...more
})
async function run(text: string, fetch: (request: never) => unknown = () => page()) {
  const host = fakeHost({ fetch })
  const what = call(`export async function run(input, ctx) { ${text} }`, {
    capabilities: ['log', 'progress', 'fetch'],
    onHostCall: host.onHostCall
  })
  const { output, code, error } = await outcome(box, what)
  return { output: code ? `${code}: ${error?.message}` : output, sent: host.asked.map(({ args }) => args[0]) }
}
const TRY = 'const fails = async (f) => { try { return await f() } catch (e) { return [e.name, e.code, e.message] } };'

t.test('a request is what fetch would send', async (t) => {
  const { output, sent } = await run(`
    const bytes = new Uint8Array([0, 1, 254, 255])
    await ctx.fetch('https://a.example/x')
    await ctx.fetch(new URL('/y?q=ü', 'https://a.example'), { method: 'post', body: 'text \\ud800', headers: { 'X-One': ' 1 ', Accept: 'a' } })
    await ctx.fetch('https://a.example', { method: 'PUT', body: bytes.subarray(1), headers: [['a', '1'], ['A', '2']] })
    await ctx.fetch('https://a.example', { method: 'PATCH', body: bytes.buffer, headers: new Headers({ 'content-type': 'x/y' }), redirect: 'manual' })
    await ctx.fetch('https://a.example', { method: 'POST', body: new URLSearchParams({ q: 'a b&c' }) })
    await ctx.fetch({ url: 'https://a.example/r', method: 'DELETE', headers: new Map([['x', 'y']]) }, { method: 'POST' })
    return 1`)
  t.equal(output, 1)
  const form = 'application/x-www-form-urlencoded;charset=UTF-8'
  t.strictSame(sent, [
    { url: 'https://a.example/x', method: 'GET', headers: [], redirect: 'follow' },
    {
      url: 'https://a.example/y?q=%C3%BC',
      method: 'POST',
      headers: [
        ['accept', 'a'],
        ['content-type', 'text/plain;charset=UTF-8'],
        ['x-one', '1']
      ],
      redirect: 'follow',
      body: { text: 'text \ufffd' }
    },
    {
      url: 'https://a.example',
      method: 'PUT',
      headers: [['a', '1, 2']],
      redirect: 'follow',
      body: { base64: 'Af7/' }
    },
    {
      url: 'https://a.example',
      method: 'PATCH',
      headers: [['content-type', 'x/y']],
      redirect: 'manual',
      body: { base64: 'AAH+/w==' }
    },
    {
      url: 'https://a.example',
      method: 'POST',
      headers: [['content-type', form]],
      redirect: 'follow',
      body: { text: 'q=a+b%26c' }
    },
    { url: 'https://a.example/r', method: 'POST', headers: [['x', 'y']], redirect: 'follow' }
  ])
})

t.test('a request that cannot be sent says why, and reaches nobody', async (t) => {
  const bad: [string, string][] = [
    ["{ method: 'PO ST' }", 'ctx.fetch: the method is a word such as POST'],
    ["{ redirect: 'never' }", 'ctx.fetch: redirect is follow, manual or error'],
    ["{ body: 'x' }", 'ctx.fetch: a GET request has no body'],
    ["{ headers: { 'a\\r\\nb': '1' } }", 'Headers: "a\\r\\nb" is no header name'],
    [
      "{ headers: { a: '1\\r\\nEvil: 2' } }",
      'Headers: the value of a has a line break, a NUL or a character above U+00FF'
    ],
    ["{ headers: [['a']] }", 'Headers: each entry is [name, value]'],
    ['{ signal: {} }', 'ctx.fetch: the signal is no AbortSignal'],
    ['null', 'ctx.fetch: the options are an object'],
    ...['{}', 'new Map()', 'async function* () {}', '5', 'Symbol()'].map((body): [string, string] => [
      `{ method: 'POST', body: ${body} }`,
      'ctx.fetch: the body is a string (JSON.stringify it), a Uint8Array, an ArrayBuffer or URLSearchParams'
    ])
  ]
  const { output, sent } = await run(
    `${TRY} const bad = [${bad.map(([init]) => init).join(', ')}]; const seen = []; for (const init of bad) seen.push(await fails(() => ctx.fetch('https://a.example', init))); return seen`
  )
  t.strictSame(
    output,
    bad.map(([, message]) => ['TypeError', 'ARGUMENTS_INVALID', message])
  )
  t.strictSame(sent, [])
})

t.test('an answer is read once, as text, JSON or bytes', async (t) => {
  const { output } = await run(`${TRY}
    const r = await ctx.fetch('https://a.example')
    const seen = [r.ok, r.status, r.statusText, r.url, r.redirected, r.headers.get('Content-Type'), r.headers.has('x'), r.bodyUsed, String(r)]
    const again = [await r.json(), r.bodyUsed, await fails(() => r.text())]
    return [seen, again, await fails(() => new r.constructor())]`)
  t.strictSame(output, [
    [true, 200, 'OK', 'https://a.example/', false, 'application/json', false, false, '[object Response]'],
    [{ a: [1] }, true, ['TypeError', null, 'Body is unusable: Body has already been read']],
    ['TypeError', null, 'Illegal constructor: a Response comes from ctx.fetch']
  ])
  const bytes = Buffer.from([0xef, 0xbb, 0xbf, 0xc3, 0xa9, 0xff])
  const kinds = await run(
    `const r = () => ctx.fetch('https://a.example'); const b = await (await r()).arrayBuffer()
     return [await (await r()).text(), [...await (await r()).bytes()], b instanceof ArrayBuffer, b.byteLength, (await r()).ok]`,
    () => page({ status: 404, body: { base64: bytes.toString('base64') } })
  )
  t.strictSame(kinds.output, ['é\ufffd', [...bytes], true, 6, false])
  const text = await run(
    `const r = await ctx.fetch('https://a.example'); return [[...await r.bytes()], [...r.headers], r.headers.getSetCookie()]`,
    () =>
      page({
        body: { text: 'é😀' },
        headers: [...['a=1', 'b=2'].map((v) => ['Set-Cookie', v]), ['B', '1'], ['b', '2']]
      })
  )
  t.strictSame(text.output, [
    [...Buffer.from('é😀')],
    [
      ['b', '1, 2'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2']
    ],
    ['a=1', 'b=2']
  ])
  const broken = await run(`${TRY} const r = await ctx.fetch('https://a.example'); return fails(() => r.json())`, () =>
    page({ body: { text: 'no' } })
  )
  t.match(broken.output, ['SyntaxError'])
})

t.test('Headers are those of node', async (t) => {
  const text = `
    const bad = (f) => { try { return String(f()) } catch (e) { return e.name } }
    const h = new Headers({ B: '1', a: ' 2\\t' }); h.append('b', '3'); h.append('Set-Cookie', 'x'); h.append('set-cookie', 'y'); h.set('C', 'z'); h.delete('none')
    const seen = []; h.forEach((value, name, of) => seen.push([name, value, of === h]))
    return [[...h], [...h.keys()], [...h.values()], [...h.entries()], h.get('B'), h.get('none'), h.has('a'), h.getSetCookie(), seen, String(h), [...new Headers(h)],
      [...new Headers([['q', 1]])], [...new Headers(new Map([['m', 'n']]))], new Headers().get('a'), bad(() => new Headers([['a']])), bad(() => new Headers(5)), bad(() => h.append('a b', '1')), bad(() => h.set('a', 'x\\ny')), bad(() => h.get('')), bad(() => h.append('a', 'ā'))]`
  const node = (await new Function(`return (async () => { ${text} })()`)()) as unknown
  t.strictSame((await run(text)).output, JSON.parse(JSON.stringify(node)))
})

t.test('a signal ends the waiting at once; the late answer is dropped, and what was not sent never is', async (t) => {
  let release: () => void = () => undefined
  const slow = new Promise<void>((resolve) => {
    release = resolve
  })
  const late = async ({ url }: { url: string }) => {
    if (url.endsWith('/slow')) await slow
    return page({ url })
  }
  const { output, sent } = await run(
    `${TRY}
    const stop = new AbortController()
    const waiting = Array.from({ length: 10 }, () => fails(() => ctx.fetch('https://a.example/slow', { signal: stop.signal })))
    setTimeout(() => stop.abort(), 1)
    const first = await Promise.all(waiting)
    const own = await fails(() => ctx.fetch('https://a.example', { signal: AbortSignal.abort(new Error('mine')) }))
    return [first[0], new Set(first.map(String)).size, own, await fails(() => ctx.fetch('https://a.example', { signal: AbortSignal.timeout(1) }))]`,
    (request) => late(request)
  )
  release()
  t.equal(sent.length, 8, 'eight were under way; two waited, and the last ones were never asked')
  t.strictSame(output, [
    ['AbortError', 20, 'This operation was aborted'],
    1,
    ['Error', null, 'mine'],
    ['TimeoutError', 23, 'The operation timed out']
  ])
})

t.test('an answer that comes after an abort wakes nobody, and one before it is kept', async (t) => {
  const { output } = await run(
    `const stop = new AbortController(); const seen = []
     const one = ctx.fetch('https://a.example/one', { signal: stop.signal }); const two = ctx.fetch('https://a.example/two', { signal: stop.signal }).catch((e) => seen.push(e.name))
     const page = await one; stop.abort(); await ctx.progress(1); await ctx.progress(1); await two
     return [page.url, await page.text(), seen]`,
    async ({ url }: { url: string }) => page({ url, body: { text: url } })
  )
  t.match(output, ['https://a.example/one', 'https://a.example/one'])
})

t.test('what the host refuses has its code', async (t) => {
  const { output } = await run(`${TRY} return fails(() => ctx.fetch('https://other.example'))`, () => {
    throw refusal('CAPABILITY_DENIED', 'other.example was not granted')
  })
  t.strictSame(output, ['Error', 'CAPABILITY_DENIED', 'other.example was not granted'])
})
