import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const body = (text: string) => `export async function run(input, ctx) { ${text} }`

t.test('an author error has name, message and his own lines only', async (t) => {
  const files = {
    'dist/index.js': "import { deep } from './deep.js'\nexport async function run() {\n  return deep()\n}",
    'dist/deep.js': "export function deep() {\n  throw new RangeError('too deep')\n}"
  }
  const { code, error } = await outcome(box, call(files))
  t.equal(code, 'SKILL_ERROR')
  t.equal(error?.message, 'too deep')
  t.equal(error?.details.name, 'RangeError')
  t.equal(error?.details.stack, 'at deep (dist/deep.js:2:9)\nat run (dist/index.js:3:10)')
  t.equal(error?.retryable, false)
})

t.test('whatever is thrown becomes a SKILL_ERROR with a capped message', async (t) => {
  const cases: [string, RegExp][] = [
    ["throw 'plain'", /^the tool threw a string, not an Error: plain$/],
    ['throw 42', /^the tool threw number 42, not an Error$/],
    ['throw 10n', /^the tool threw bigint 10, not an Error$/],
    ['throw null', /^the tool threw null, not an Error$/],
    ['throw undefined', /^the tool threw undefined, not an Error$/],
    ['throw Symbol("s")', /^the tool threw a symbol, not an Error$/],
    ['throw () => 1', /^the tool threw a function, not an Error$/],
    ['throw { message: "an object" }', /^an object$/],
    [
      'throw { get message() { throw 1 }, get stack() { throw 2 }, get name() { throw 3 } }',
      /^the tool threw an object, not an Error: \(unprintable\)$/
    ],
    [
      'throw new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 2 } })',
      /^the tool threw an object, not an Error: \(unprintable\)$/
    ],
    [
      "throw { status: 500, toJSON: 1, why: ['x'] }",
      /^the tool threw an object, not an Error: {"status":500,"toJSON":1,"why":\["x"\]}$/
    ],
    ['throw new TypeError()', /^TypeError without a message$/],
    ['throw Object.assign(new Error("m"), { name: 7, stack: 8, code: "SANDBOX_TIMEOUT" })', /^m$/],
    ['throw new Error("x".repeat(20000))', /^x{16384}$/],
    ['throw new Error("x".repeat(4e8))', /^\(text of 400000000 characters\)$/],
    ['Promise.reject(new Error("floating")); await null; return 1', /^floating$/],
    ['Error.prepareStackTrace = () => "/etc/host/path"; throw new Error("stack")', /^stack$/],
    ['Error.stackTraceLimit = Infinity; (function f() { f() })()', /call stack/]
  ]
  for (const [text, message] of cases) {
    // A stack of all frames takes its time to write.
    const { code, error } = await outcome(box, call(body(text), { limit: { cpuMs: 20_000, wallMs: 30_000 } }))
    t.equal(code, 'SKILL_ERROR', text)
    t.match(error?.message, message, text)
    t.notMatch(String(error?.details.stack ?? ''), /agentos|isolated-vm|\/(tmp|app|work|usr)\//)
  }
})

t.test('a result that is not JSON, too large or dangerous is refused with its code', async (t) => {
  const cases: [string, string][] = [
    ['return undefined', 'SKILL_RESULT_INVALID'],
    ['return () => 1', 'SKILL_RESULT_INVALID'],
    ['return Symbol()', 'SKILL_RESULT_INVALID'],
    ['return 1n', 'SKILL_RESULT_INVALID'],
    ['return { deep: [1n] }', 'SKILL_RESULT_INVALID'],
    ['const a = {}; a.a = a; return a', 'SKILL_RESULT_INVALID'],
    ['return { toJSON() { return undefined } }', 'SKILL_RESULT_INVALID'],
    ['return { toJSON() { throw new Error("no") } }', 'SKILL_RESULT_INVALID'],
    ['return new Proxy({}, { ownKeys() { throw new Error("no") } })', 'SKILL_RESULT_INVALID'],
    ['return JSON.parse(\'{"__proto__":{"polluted":1}}\')', 'SKILL_RESULT_INVALID'],
    ['return { constructor: { prototype: { polluted: 1 } } }', 'SKILL_RESULT_INVALID'],
    ['return "x".repeat(5e8)', 'RESULT_TOO_LARGE'],
    ['return { a: ["x".repeat(5e8)] }', 'RESULT_TOO_LARGE'],
    ['return "\\u00e9".repeat(1024 * 1024 - 10)', 'RESULT_TOO_LARGE'],
    ['return Array(2e6).fill(0)', 'RESULT_TOO_LARGE'],
    ['let a = []; for (let i = 0; i < 1000; i++) a = [a]; return a', 'RESULT_TOO_LARGE']
  ]
  for (const [text, code] of cases) t.equal((await outcome(box, call(body(text)))).code, code, text)
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('values that JSON maps have one defined rule each', async (t) => {
  const text =
    'return [-0, NaN, Infinity, new Date(0), new Map([[1, 2]]), undefined, { u: undefined, constructor: "fine" }]'
  t.same((await outcome(box, call(body(text)))).output as unknown, [
    0,
    null,
    null,
    '1970-01-01T00:00:00.000Z',
    {},
    null,
    { constructor: 'fine' }
  ])
})

t.test('a package that cannot be loaded says why', async (t) => {
  const cases: [string | Record<string, string>, RegExp][] = [
    ['export const run = ', /SyntaxError|Unexpected/],
    ['export const other = 1', /run is not an exported function/],
    ['export const run = 1', /run is not an exported function/],
    ['throw new Error("at the top")', /at the top/],
    ["await null; throw new Error('later')", /later/],
    ['await new Promise(() => {}); export const run = () => 1', /await at its top level does not settle/],
    [{ 'dist/other.js': '' }, /dist\/index.js is not in the package/],
    [{ 'dist/index.js': "export { x } from './b.js'", 'dist/b.js': 'export const y = 1' }, /x/]
  ]
  for (const [files, message] of cases) {
    const { code, error } = await outcome(box, call(files))
    t.equal(code, 'SKILL_LOAD_FAILED', JSON.stringify(files))
    t.match(error?.message, message)
    t.notMatch(error?.message, /skill:|\/tmp/)
  }
  const loop = await outcome(box, call('while (true);', { limit: { cpuMs: 200 } }))
  t.equal(loop.code, 'SANDBOX_TIMEOUT', 'top-level code is under the same limits')
  t.equal((await outcome(box, call('export const run = () => import("./x.js")'))).code, 'SKILL_ERROR')
})

t.test('input, host call and capability limits have their codes', async (t) => {
  const big = await outcome(box, call(body('return 1'), { input: JSON.stringify('x'.repeat(1024 * 1024)) }))
  t.equal(big.code, 'SANDBOX_INPUT_TOO_LARGE')
  const onHostCall = async () => '1'
  const flood = body('for (let i = 0; i < 1e5; i++) await ctx.progress(i)')
  t.equal((await outcome(box, call(flood, { onHostCall }))).code, 'SANDBOX_HOST_CALLS')
  const burst = body('await Promise.all(Array.from({ length: 1e5 }, () => ctx.progress(1)))')
  t.equal((await outcome(box, call(burst, { onHostCall }))).code, 'SANDBOX_HOST_CALLS')
  const none = call(body('await ctx.progress(1)'), { limit: { hostCalls: 0 }, onHostCall })
  t.equal((await outcome(box, none)).code, 'SANDBOX_HOST_CALLS')
  const absent = await outcome(box, call(body('return await ctx.progress(1).catch((e) => e.code)')))
  t.equal(absent.output, 'CAPABILITY_DENIED', 'granted by name, but the host has no answer to it')
  t.match((await outcome(box, call(body('return ctx.fetch("https://example.com")')))).error?.message, /not a function/)
  t.equal((await outcome(box, call(body('return 1'), { capabilities: ['__proto__'] }))).code, 'CAPABILITY_DENIED')
  const large = body('return await ctx.progress("x".repeat(300000)).catch((e) => e.code)')
  t.equal((await outcome(box, call(large, { onHostCall }))).output, 'ARGUMENTS_TOO_LARGE')
})

t.test('an abort signal cancels a waiting, a running and a finished call', async (t) => {
  t.equal((await outcome(box, call(body('return 1'), { signal: AbortSignal.abort() }))).code, 'SANDBOX_CANCELLED')
  for (const text of [
    'await ctx.progress(1); while (true);',
    'ctx.progress(1); await new Promise(() => {})',
    'await ctx.progress(1); [].indexOf.call({ length: 2 ** 53 - 1 }, 1)'
  ]) {
    const stop = new AbortController()
    const onHostCall = async () => {
      setImmediate(() => stop.abort())
      return '1'
    }
    const started = performance.now()
    const what = call(body(text), { signal: stop.signal, onHostCall, limit: { cpuMs: 60_000, wallMs: 60_000 } })
    t.equal((await outcome(box, what)).code, 'SANDBOX_CANCELLED', text)
    t.ok(performance.now() - started < 30_000)
  }
  t.equal((await outcome(box, call(body('return "next"')))).output, 'next')
})
