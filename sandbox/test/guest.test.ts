import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())
const run = async (text: string, verified = true) => {
  const { output, code, error } = await outcome(
    box,
    call(`export async function run(input, ctx) { ${text} }`, { verified, onHostCall: async () => '{"v":1}' })
  )
  return code ? `${code}: ${error?.message}` : output
}

t.test('the globals are the language without what makes clocks, threads and uncounted memory', async (t) => {
  for (const verified of [true, false]) {
    const names = (await run('return Reflect.ownKeys(globalThis).map(String)', verified)) as string[]
    for (const gone of [
      'WebAssembly',
      'SharedArrayBuffer',
      'Atomics',
      'FinalizationRegistry',
      'WeakRef',
      'process',
      'require',
      'fetch',
      'setInterval',
      'setImmediate',
      'performance',
      'kit',
      'ask',
      '$0',
      'post'
    ])
      t.notOk(names.includes(gone), gone)
    for (const kept of ['Map', 'Intl', 'Temporal', 'Proxy', 'console', 'ArrayBuffer', 'Date'])
      t.ok(names.includes(kept), kept)
  }
})

t.test('there is no way back to a resizable or shared buffer', async (t) => {
  const cases = [
    'return new ArrayBuffer(8, { maxByteLength: 2 ** 33 }).byteLength',
    'return new (new Uint8Array(8).buffer.constructor)(8, { maxByteLength: 1e9 }).byteLength',
    'class Own extends ArrayBuffer { constructor() { super(8, { maxByteLength: 1e9 }) } }; return new Own().byteLength',
    'return Reflect.construct(ArrayBuffer, [8, { maxByteLength: 1e9 }]).byteLength',
    'return new ArrayBuffer(16).slice(8).byteLength'
  ]
  for (const text of cases) t.equal(await run(text), 8, text)
  t.strictSame(
    await run(
      'const b = new ArrayBuffer(8); return [typeof b.resize, typeof b.transfer, b.resizable, b instanceof ArrayBuffer, ArrayBuffer.isView(new Uint8Array(1))]'
    ),
    ['undefined', 'undefined', null, true, true].map((v) => v)
  )
})

t.test('function constructors, callers and bridges lead nowhere', async (t) => {
  const nothing = [
    'return this?.constructor?.constructor("return typeof process")() ?? "undefined"',
    'return (async () => {}).constructor("return typeof process")()',
    'return (function* () {}).constructor("yield typeof process")().next().value',
    'return (await (async function* () {}).constructor("yield typeof process")().next()).value',
    'return ctx.progress.constructor("return typeof process")()',
    'try { await ctx.progress(1n) } catch (e) { return e.constructor.constructor("return typeof process")() }',
    'return typeof ctx.progress.caller === "function" ? "leak" : "undefined"',
    'return eval("typeof process")',
    'return typeof globalThis.constructor.constructor("return this")().process'
  ]
  for (const text of nothing) t.match(String(await run(text)), /undefined|SKILL_ERROR/, text)
})

t.test('poisoned builtins hurt only the skill that poisons them', async (t) => {
  const poison = [
    'JSON.stringify = () => { throw 1 }',
    'JSON.parse = () => { throw 1 }',
    'Object.prototype.toJSON = () => "x".repeat(1e7)',
    'String.prototype.slice = () => { throw 1 }',
    'Array.prototype[Symbol.iterator] = () => { throw 1 }',
    'Promise.prototype.then = () => { throw 1 }',
    'Function.prototype.call = Function.prototype.apply = () => { throw 1 }',
    'Reflect.apply = () => { throw 1 }',
    'Map.prototype.get = Map.prototype.set = () => { throw 1 }',
    'Object.defineProperty(Array.prototype, "0", { set() { throw 1 }, get() { throw 1 }, configurable: true })',
    'for (const k of ["n", "name", "text", "resolve", "group"]) Object.defineProperty(Object.prototype, k, { set() { throw 1 }, configurable: true })',
    'Object.defineProperty(Promise.prototype, "constructor", { get() { throw 1 } })'
  ]
  for (const text of poison) {
    const ended = await run(`${text}; const got = await ctx.progress(1); console.log("x"); return 1`)
    t.ok(ended === 1 || /^(SKILL_|RESULT_)/.test(String(ended)), `${text}: ${ended}`)
  }
  t.equal(await run('return 1'), 1)
})

t.test('ctx and what hangs on it cannot be changed', async (t) => {
  t.strictSame(
    await run(
      'const r = []; for (const f of [() => { ctx.x = 1 }, () => { ctx.log.info = 1 }, () => { ctx.session.id = "other" }, () => { console.log = 1 }]) try { f(); r.push("changed") } catch (e) { r.push(e.name) } return r'
    ),
    ['TypeError', 'TypeError', 'TypeError', 'TypeError']
  )
})
