// A skill that poisons what its realm is made of, or whose arguments change while they are read, gets the same answers
// and the host the same requests: what is asked was made of one reading.
import t from 'tap'
import { ALL, fakeHost } from './fake-host.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const fetch = ({ url }: { url: string }) => ({
  url,
  status: 200,
  statusText: '',
  headers: [
    ['b', '1'],
    ['a', '2']
  ],
  redirected: false,
  body: { base64: Buffer.from('é"').toString('base64') }
})
async function run(text: string, verified = true) {
  const host = fakeHost({ fetch })
  const what = call(`export async function run(input, ctx) { ${text} }`, {
    capabilities: ALL,
    onHostCall: host.onHostCall,
    limit: { hostCalls: 60 },
    verified
  })
  const { output, code, error } = await outcome(box, what)
  return { output: code ? `${code}: ${error?.message}` : output, asked: host.asked }
}

// Uses each method; the script itself relies on nothing that the poisons below take away.
const USE = `
  const form = new URLSearchParams('q=1'); const seen = { __proto__: null }
  const POISON = 0
  await ctx.storage.set('k', { n: 1 }, { ifVersion: 0 }); seen.got = (await ctx.storage.get('k')).value.n
  seen.listed = (await ctx.storage.list({ prefix: 'k' })).keys[0].version; seen.gone = await ctx.storage.delete('k', { ifVersion: 1 })
  await ctx.files.write('a', 'long text, longer'); await ctx.files.append('a', bytes); seen.text = await ctx.files.read('a'); seen.bytes = (await ctx.files.readBytes('a'))[0]
  seen.stat = (await ctx.files.stat('a')).bytes; seen.files = (await ctx.files.list('a')).files[0].path; await ctx.files.delete('a')
  seen.event = (await ctx.events.publish('x', { a: [1] })).event; seen.model = (await ctx.model.run({ prompt: 'p' })).text; seen.tool = (await ctx.tools.call('a.b', { i: 1 })).input.i
  const one = await ctx.fetch('https://a.example', { method: 'POST', headers, body: form }); seen.ok = one.ok; seen.header = one.headers.get('A'); seen.body = await one.text()
  const two = await ctx.fetch('https://a.example', { method: 'POST', body: bytes, signal: stop.signal }); seen.raw = (await two.bytes())[2]
  try { await ctx.storage.set('k') } catch (e) { seen.code = e.code }
  try { await ctx.files.read('none') } catch (e) { seen.missing = e.code }
  return seen`
const script = (poison: string) =>
  `const bytes = new Uint8Array([33, 34]); const headers = [['x-a', 'b']]; const stop = new AbortController(); ${USE.replace('const POISON = 0', poison)}`

const THROW = '() => { throw new Error("poisoned") }'
const all = (target: string, but: string[] = []) =>
  `for (const k of Reflect.ownKeys(${target})) if (!${JSON.stringify(['constructor', ...but])}.includes(k) && typeof Object.getOwnPropertyDescriptor(${target}, k).value === 'function') ${target}[k] = ${THROW};`
const poisons: Record<string, string> = {
  'JSON, Reflect and the functions of Object':
    'const fail = () => { throw new Error("poisoned") }; const own = Reflect.ownKeys; const lists = [JSON, Reflect, Object]; for (const one of lists) for (const k of own(one)) if (typeof one[k] === "function") one[k] = fail;',
  strings: all('String.prototype'),
  maps: `${all('Map.prototype')} globalThis.Map = null;`,
  'typed arrays and buffers': `${all('Uint8Array.prototype')} Uint8Array.fromBase64 = ${THROW}; ArrayBuffer.isView = ${THROW}; globalThis.Uint8Array = null; ${all('DataView.prototype')}`,
  promises: `Promise.prototype.then = Promise.prototype.catch = Promise.prototype.finally = ${THROW}; globalThis.Promise = null;`,
  'call, apply and bind': `const fail = ${THROW}; Function.prototype.call = Function.prototype.apply = Function.prototype.bind = fail;`,
  errors: `Error.captureStackTrace = ${THROW}; Error.prepareStackTrace = ${THROW}; Object.defineProperty(Error.prototype, 'name', { __proto__: null, get: ${THROW} }); Object.defineProperty(Error.prototype, 'message', { __proto__: null, get: ${THROW} }); globalThis.Error = null; globalThis.TypeError = null;`,
  'Headers and signals': `${all('Headers.prototype', ['get'])} Headers.prototype[Symbol.iterator] = ${THROW}; globalThis.Headers = null; ${all('AbortSignal.prototype')} ${all('EventTarget.prototype')} ${all('TextDecoder.prototype')} ${all('TextEncoder.prototype')}`,
  'toJSON of everything': 'Object.prototype.toJSON = String.prototype.toJSON = () => "lie";',
  'setters on prototypes': `for (const k of ['0', '1', 'n', 'name', 'text', 'base64', 'url', 'method', 'headers', 'body', 'redirect', 'signal', 'site', 'shape', 'resolve', 'reject', 'abandoned', 'sent', 'type', 'value', 'part', 'more', 'as', 'offset', 'length', 'code', 'message', 'stack']) { const fail = ${THROW}; Object.defineProperty(Object.prototype, k, { __proto__: null, set: fail, configurable: true }); if (k !== 'length') Object.defineProperty(Array.prototype, k, { __proto__: null, set: fail, configurable: true }) }`
}
t.test('poisoned built-ins change neither what is asked nor what is answered', async (t) => {
  const clean = await run(script(''))
  t.match(clean.output, {
    got: 1,
    gone: true,
    text: 'long text, longer!"',
    bytes: 108,
    header: '2',
    body: 'é"',
    raw: 34,
    code: 'ARGUMENTS_INVALID',
    missing: 'FILES_NOT_FOUND'
  })
  const withJson = new Set(['toJSON of everything'])
  for (const [name, poison] of Object.entries(poisons)) {
    const { output, asked } = await run(script(poison))
    if (withJson.has(name)) t.equal(asked.length, clean.asked.length, 'values of the author are what his toJSON says')
    else {
      t.strictSame(asked, clean.asked, name)
      t.strictSame(output, clean.output, name)
    }
  }
  t.strictSame((await run(script(Object.values(poisons).slice(1, 6).join('')), false)).output, clean.output, 'jitless')
})

t.test('iterators that the skill replaced are not used on what is ours', async (t) => {
  const { output } = await run(
    `const pages = []; Array.prototype[Symbol.iterator] = () => { throw new Error('iterated') }
     const r = await ctx.fetch('https://a.example', { method: 'POST', body: 'x', headers: { a: 'b' } })
     return r.headers.get('b') + await r.text() + (await ctx.storage.get('x'))`
  )
  t.equal(output, '1é"null')
})

// Class 64 of the threats: a getter that says something else the second time.
t.test(
  'an argument that changes between two readings is sent as it was read, and each part is read once',
  async (t) => {
    const { output, asked } = await run(`
    const reads = { __proto__: null }
    const shifty = (values) => { const made = {}; for (const name of Object.keys(values)) Object.defineProperty(made, name, { enumerable: true, get() { reads[name] = (reads[name] ?? 0) + 1; return values[name][Math.min(reads[name], 2) - 1] } }); return made }
    await ctx.fetch(shifty({ url: ['https://allowed.example', 'https://evil.example'] }), shifty({ method: ['POST', 'DELETE'], redirect: ['manual', 'follow'], headers: [{ a: '1' }, { a: '2' }], body: ['fine', 'evil'] }))
    let turn = 0
    await ctx.fetch({ toString: () => ++turn === 1 ? 'https://allowed.example' : 'https://evil.example' })
    const name = { n: 0, toString() { return ++this.n === 1 ? 'x-a' : 'host' } }
    await ctx.fetch('https://allowed.example', { headers: [[name, { n: 0, toString() { return ++this.n === 1 ? 'v' : 'v\\r\\nEvil: 1' } }]] })
    return reads`)
    t.strictSame(output, { url: 1, method: 1, redirect: 1, headers: 1, body: 1 })
    t.strictSame(
      asked.map(({ args }) => args[0]),
      [
        {
          url: 'https://allowed.example',
          method: 'POST',
          headers: [
            ['a', '1'],
            ['content-type', 'text/plain;charset=UTF-8']
          ],
          redirect: 'manual',
          body: { text: 'fine' }
        },
        { url: 'https://allowed.example', method: 'GET', headers: [], redirect: 'follow' },
        { url: 'https://allowed.example', method: 'GET', headers: [['x-a', 'v']], redirect: 'follow' }
      ]
    )
    const stored = await run(`
    let n = 0; const value = { get a() { return ++n } }
    await ctx.storage.set('k', value); return (await ctx.storage.get('k')).value.a === n`)
    t.equal(stored.output, true, 'what is stored is what was said last, as text')
  }
)

t.test('nothing of the prelude can be reached from what ctx gives', async (t) => {
  const { output } = await run(`
    const seen = new Set(); const found = []; const r = await ctx.fetch('https://a.example'); const h = new Headers([['a', 'b']])
    let error; try { await ctx.files.read('none') } catch (e) { error = e }
    const todo = [ctx, r, h, h.entries(), error, ctx.storage.get('x'), ctx.fetch('https://a.example')]
    while (todo.length > 0 && seen.size < 20000) {
      const value = todo.pop()
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue
      seen.add(value); todo.push(Object.getPrototypeOf(value))
      for (const key of Reflect.ownKeys(value)) {
        if (/^(post|ask|kit|members|waiter|site|shape|deliver|makeContext|pairsOf|paramsText|follow)$/.test(String(key))) found.push(String(key))
        const own = Reflect.getOwnPropertyDescriptor(value, key); todo.push(own.value, own.get, own.set)
      }
    }
    return found`)
  t.strictSame(output, [])
})
