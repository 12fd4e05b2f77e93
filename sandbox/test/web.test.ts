// The web's names in the guest, held to node's own: the same snippet runs there and here and must give the same JSON.
import fc from 'fast-check'
import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const guest = async (text: string, input = '{}', more = {}) => {
  const source = `export async function run(input, ctx) { ${text} }`
  const { output, code, error } = await outcome(box, call(source, { input, ...more }))
  return code ? `${code}: ${error?.message}` : output
}
const node = async (text: string, input = '{}') => {
  const made = new Function('input', `return (async () => { ${text} })()`) as (input: unknown) => Promise<unknown>
  const alive = setInterval(() => undefined, 1000) // node does not wait for AbortSignal.timeout
  try {
    return JSON.parse(JSON.stringify(await made(JSON.parse(input))))
  } finally {
    clearInterval(alive)
  }
}

const snippets: Record<string, string> = {
  'TextEncoder and TextDecoder': `
    const hard = ['', 'plain', 'é€😀', '\\ud800', 'a\\udc00b', '\\ufeffbom', '\\u0000'.repeat(3), 'x'.repeat(9000) + '😀']
    const target = new Uint8Array(5)
    return [hard.map((s) => [...new TextEncoder().encode(s)].join()), hard.map((s) => new TextDecoder().decode(new TextEncoder().encode(s))),
      new TextEncoder().encodeInto('aé😀', target), [...target], new TextEncoder().encoding,
      new TextDecoder('UTF8').encoding, new TextDecoder('latin1').encoding, new TextDecoder('latin1').decode(new Uint8Array([0x80, 0xe9])),
      new TextDecoder('utf-16le').decode(new Uint8Array([0x61, 0, 0x3d, 0xd8, 0x00, 0xde, 0x62])),
      new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 65])), new TextDecoder().decode(new Uint8Array([65, 66, 67]).buffer)]`,
  'a decoder that streams': `
    const decoder = new TextDecoder('utf-8', { fatal: true }); const bytes = new TextEncoder().encode('a€😀z'); const parts = []
    for (const byte of bytes) parts.push(decoder.decode(new Uint8Array([byte]), { stream: true }))
    parts.push(decoder.decode())
    try { decoder.decode(new Uint8Array([0xff])) } catch (e) { parts.push(e.name) }
    return parts`,
  'atob and btoa': `
    const bad = (f) => { try { return f() } catch (e) { return [e.name, e.code] } }
    return ['', 'a', 'ab', 'abc', '\\xff\\x00\\x7f'].map((s) => [btoa(s), atob(btoa(s))])
      .concat([[bad(() => btoa('€'))], [bad(() => atob('a'))], [bad(() => atob('a==='))], [atob(' YQ = = ')], [atob('YQ')]])`,
  URL: `
    const show = (u) => [u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, [...u.searchParams], JSON.stringify(u), String(u)]
    const u = new URL('https://user:p%40ss@EXAMPLE.com:8080/a/../b c?q=1&q=ü#frag')
    const seen = [show(u)]
    u.searchParams.append('x', 'a&b=c'); seen.push(show(u)); u.searchParams.delete('q'); seen.push(show(u))
    u.search = '?z=1'; seen.push(show(u)); u.pathname = '/ü'; u.port = '443'; u.protocol = 'http'; u.hash = ''; u.host = 'münchen.de'; seen.push(show(u))
    u.port = 'x'; u.href = 'ftp://other/'; seen.push(show(u))
    const bad = (f) => { try { return String(f()) } catch (e) { return [e.name, e.message, e.code] } }
    return [seen, bad(() => new URL('nope')), bad(() => new URL('/x', 'https://a.b')), bad(() => { u.href = '::' }), URL.canParse('x:'), URL.canParse('x'), URL.parse('x'), bad(() => new URL('http://0x7f.1/')), bad(() => new URL('http://[::ffff:127.0.0.1]'))]`,
  URLSearchParams: `
    const p = new URLSearchParams('?a=1&a=2&b=%zz&c=%f0%9f%98%80&d=%ff+x&=e&f')
    const seen = [[...p], p.toString(), p.size, p.has('a', '2'), p.get('none'), p.getAll('a')]
    p.set('a', "~!'()*-._ "); p.append('ü', '😀'); p.sort(); p.delete('a', 'no')
    return [seen, p.toString(), [...p.keys()], [...p.values()], new URLSearchParams({ x: 1, y: null }).toString(), new URLSearchParams([['q', 1]]).toString(), new URLSearchParams(p).toString() === p.toString()]`,
  structuredClone: `
    const o = { n: 1, d: new Date(5), r: /x/gi, m: new Map([[{ k: 1 }, new Set([1])]]), b: new Uint8Array([1, 2, 3]).subarray(1), a: [1, , 3], u: undefined, big: 5n, s: new String('s') }
    o.self = o
    const c = structuredClone(o)
    const bad = (v) => { try { return structuredClone(v) } catch (e) { return [e.name, e.code, e instanceof DOMException, e instanceof Error] } }
    const e = structuredClone(new RangeError('r', { cause: { x: 1 } }))
    return [c !== o, c.self === c, c.d.getTime(), String(c.r), [...c.m].map(([k, v]) => [k, [...v]]), [...c.b], c.b.buffer !== o.b.buffer, c.a.length, 1 in c.a, 'u' in c, String(c.big), typeof c.s, e.name, e.message, e.cause, e instanceof RangeError,
      bad(() => 1), bad(Symbol()), bad({ f() {} }), bad(new WeakMap()), bad(Promise.resolve()), structuredClone(null), structuredClone(JSON.parse('{"__proto__":1}')).__proto__]`,
  'AbortController, AbortSignal, EventTarget': `
    const c = new AbortController(); const seen = []
    c.signal.onabort = (e) => seen.push(['handler', e.type, e.target === c.signal])
    c.signal.addEventListener('abort', () => seen.push('once'), { once: true })
    const gone = () => seen.push('gone'); c.signal.addEventListener('abort', gone); c.signal.removeEventListener('abort', gone)
    const any = AbortSignal.any([new AbortController().signal, c.signal])
    c.abort(); c.abort('again')
    const bad = (f) => { try { return f() } catch (e) { return [e.name ?? e, e.message] } }
    const target = new EventTarget(); target.addEventListener('x', { handleEvent(e) { e.preventDefault(); seen.push(e.type) } })
    seen.push(target.dispatchEvent(new Event('x', { cancelable: true })))
    return [seen, c.signal.aborted, c.signal.reason.name, c.signal.reason.code, bad(() => c.signal.throwIfAborted()), any.aborted, any.reason === c.signal.reason, AbortSignal.abort(7).reason, bad(() => new AbortSignal())[0]]`,
  'timers and microtasks': `
    const seen = []
    setTimeout((a, b) => seen.push(a + b), 5, 'arg', 'uments'); const gone = setTimeout(() => seen.push('gone'), 1); clearTimeout(gone); clearTimeout(gone); clearTimeout('x')
    queueMicrotask(() => seen.push('micro')); seen.push('first')
    await new Promise((resolve) => setTimeout(resolve, 30))
    const timeout = AbortSignal.timeout(5)
    await new Promise((resolve) => { timeout.onabort = resolve })
    return [seen, timeout.reason.name]`
}
for (const [name, text] of Object.entries(snippets))
  t.test(`${name} as in node`, async (t) => t.strictSame(await guest(text), await node(text)))

t.test('any bytes and any text decode, encode and parse as in node', async (t) => {
  const bytes = fc.sample(fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 12 }), { numRuns: 400, seed: 7 })
  const words = fc.sample(fc.string({ unit: 'binary', maxLength: 20 }), { numRuns: 300, seed: 7 })
  const paths = fc.sample(fc.webUrl({ withQueryParameters: true, withFragments: true }), { numRuns: 100, seed: 7 })
  const text = `return [
    input.bytes.map((list) => new TextDecoder().decode(new Uint8Array(list))),
    input.bytes.map((list) => { try { return new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(list)) } catch (e) { return e.name } }),
    input.bytes.map((list) => btoa(String.fromCharCode(...list))),
    input.words.map((word) => [[...new TextEncoder().encode(word)].join(), new URLSearchParams([[word, word]]).toString(), [...new URLSearchParams(word)]]),
    input.paths.map((url) => [new URL(url).href, [...new URL(url).searchParams]])
  ]`
  const input = JSON.stringify({ bytes, words, paths })
  t.strictSame(await guest(text, input), await node(text, input))
})

t.test('crypto follows the seed: the same call gives the same bytes, another seed or draw gives others', async (t) => {
  const text =
    'const draw = () => [...crypto.getRandomValues(new Uint8Array(40))].join(); return [draw(), draw(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint32Array(2))]]'
  const [first, again, other, jitless] = await Promise.all([
    guest(text),
    guest(text),
    guest(text, '{}', { seed: 'other' }),
    guest(text, '{}', { verified: false })
  ])
  t.strictSame(first, again)
  t.strictSame(first, jitless)
  const [one, two, uuid] = first as string[]
  t.not(one, two)
  t.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.not((other as string[])[0], one)
  t.match(
    await guest('crypto.getRandomValues(new Uint8Array(70000))'),
    'SKILL_ERROR: getRandomValues: at most 65536 bytes'
  )
  t.match(await guest('crypto.getRandomValues(new Float32Array(1))'), /array of integers/)
})

t.test('what is loaded sees time and chance of its first call', async (t) => {
  const source = `const at = Date.now(); const drawn = [Math.random(), crypto.randomUUID()]
    export const run = () => [at === Date.now(), drawn, [Math.random(), crypto.randomUUID()]]`
  const seen = async (seed: string) =>
    (await outcome(box, call(source, { seed }))).output as [boolean, string[], string[]]
  const [same, loaded, called] = await seen('a')
  t.ok(same)
  t.not(loaded[0], called[0])
  t.not(loaded[1], called[1])
  t.strictSame((await seen('a'))[1], loaded)
  t.not((await seen('b'))[1][0], loaded[0])
})
