import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

t.test('an async and a sync export run and give JSON back', async (t) => {
  const source =
    'export async function run(input) { return { sum: input.a + input.b } }; export const now = (input) => input.a'
  const what = call(source, { input: '{"a":1,"b":2}' })
  t.strictSame((await outcome(box, what)).output, { sum: 3 })
  const result = await box.run({ ...what, export: 'now' })
  t.equal(result.output, '1')
  t.ok(result.cpuMs >= 0 && result.wallMs > 0 && result.generation > 0)
  t.equal(result.hostCalls, 0)
})

t.test('the files of a package import each other, by relative path only', async (t) => {
  const files = {
    'dist/index.js':
      "import { twice } from './lib/math.js'; import * as all from './lib/math.js'; export const run = (i) => [twice(i), Object.keys(all)]",
    'dist/lib/math.js': "import { two } from '../two.js'; export const twice = (x) => x * two",
    'dist/two.js': "import './lib/math.js'; export const two = 2"
  }
  t.strictSame((await outcome(box, call(files, { input: '21' }))).output, [42, ['twice']])
  for (const specifier of [
    'node:fs',
    'fs',
    '/etc/passwd',
    './gone.js',
    '../../../etc/passwd',
    'https://example.com/x.js'
  ]) {
    const { code, error } = await outcome(box, call(`import '${specifier}'; export const run = () => 1`))
    t.equal(code, 'SKILL_LOAD_FAILED', specifier)
    t.match(error?.message, /dist\/index\.js imports/)
  }
})

t.test('module state stays warm within a session and is gone in another one', async (t) => {
  const what = call('let count = 0; export const run = () => ++count')
  const first = await box.run({ ...what, sessionId: 'warm' })
  const second = await box.run({ ...what, sessionId: 'warm' })
  const other = await box.run({ ...what, sessionId: 'cold' })
  t.strictSame([first.output, second.output, other.output], ['1', '2', '1'])
  t.equal(first.generation, second.generation)
  t.not(first.generation, other.generation)
  box.endSession('tenant-a', 'warm')
  const after = await box.run({ ...what, sessionId: 'warm' })
  t.equal(after.output, '1', 'endSession dropped the isolate')
  t.not(after.generation, first.generation)
})

t.test('two skills of one session share nothing', async (t) => {
  const source = 'globalThis.seen = (globalThis.seen ?? 0) + 1; export const run = () => globalThis.seen'
  t.equal((await outcome(box, call(source))).output, 1)
  t.equal((await outcome(box, call(source))).output, 1)
})

t.test('calls of one session at the same time do not see each other', async (t) => {
  const what = call(
    'let busy = 0; export async function run(i, ctx) { busy++; await ctx.progress(i); return [i, busy] }',
    {
      onHostCall: async (_name, args) => args
    }
  )
  const all = await Promise.all([1, 2, 3, 4, 5].map((n) => outcome(box, { ...what, input: `${n}` })))
  t.strictSame(
    all.map((one) => one.output),
    [1, 2, 3, 4, 5].map((n) => [n, 1])
  )
})

t.test('time stands still and chance is seeded: the same call gives the same bytes', async (t) => {
  const source = `export async function run() {
    const zoned = new Intl.DateTimeFormat('en', { timeZone: 'UTC', dateStyle: 'full', timeStyle: 'long' })
    return [Date.now(), new Date().toISOString(), Date(), new Date(0).getTimezoneOffset(), zoned.format(), zoned.formatToParts().length,
      String(Temporal.Now.instant()), String(Temporal.Now.plainDateISO()), Math.random(), Math.random(), new Date() instanceof Date]
  }`
  const first = await box.run(call(source))
  const again = await box.run(call(source))
  t.equal(first.output, again.output)
  const values = JSON.parse(first.output)
  t.equal(values[0], 1_700_000_000_000)
  t.equal(values[1], '2023-11-14T22:13:20.000Z')
  t.equal(values[6], '2023-11-14T22:13:20Z')
  const other = JSON.parse((await box.run(call(source, { seed: 'another' }))).output)
  t.not(other[8], values[8])
  const jitless = await box.run(call(source, { verified: false }))
  t.equal(jitless.output, first.output, 'with and without JIT')
})

t.test('ctx holds the session and the granted capabilities, and nothing else', async (t) => {
  const what = call(
    'export const run = (_, ctx) => [Object.keys(ctx).sort(), Object.isFrozen(ctx), ctx.session, typeof ctx.fetch]'
  )
  t.strictSame((await outcome(box, what)).output, [
    ['log', 'progress', 'session', 'signal'],
    true,
    what.session,
    'undefined'
  ])
  t.strictSame((await outcome(box, { ...what, capabilities: [] })).output, [
    ['session', 'signal'],
    true,
    what.session,
    'undefined'
  ])
  const grouped = call('export const run = async (_, ctx) => [await ctx.storage.get("k"), Object.keys(ctx.storage)]', {
    capabilities: ['storage.get', 'storage.set'],
    onHostCall: async (name, args) => JSON.stringify({ name, args: JSON.parse(args) })
  })
  t.strictSame((await outcome(box, grouped)).output, [{ name: 'storage.get', args: ['k'] }, ['get', 'set']])
})

t.test('host calls answer, fail with their code, and hide what was not meant for authors', async (t) => {
  const source = `export const run = async (mode, ctx) => {
    try { return await ctx.progress(mode) } catch (e) { return [e.code, e.message, /file:|\\/(home|tmp|work|usr)/.test(e.stack)] }
  }`
  const what = call(source, {
    async onHostCall(_name, args) {
      const [mode] = JSON.parse(args)
      if (mode === 'coded') throw Object.assign(new Error('not today'), { code: 'QUOTA_EXCEEDED' })
      if (mode === 'plain') throw new Error('secret at /var/lib/secret')
      if (mode === 'system') throw Object.assign(new Error('/etc/shadow'), { code: 'ENOENT' })
      if (mode === 'large') return JSON.stringify('x'.repeat(1024 * 1024 + 1))
      return '{"fine":true}'
    }
  })
  t.strictSame((await outcome(box, { ...what, input: '"ok"' })).output, { fine: true })
  t.strictSame((await outcome(box, { ...what, input: '"coded"' })).output, ['QUOTA_EXCEEDED', 'not today', false])
  t.strictSame((await outcome(box, { ...what, input: '"plain"' })).output, [
    'HOST_CALL_FAILED',
    'the host could not answer',
    false
  ])
  t.strictSame((await outcome(box, { ...what, input: '"system"' })).output, [
    'HOST_CALL_FAILED',
    'the host could not answer',
    false
  ])
  t.match((await outcome(box, { ...what, input: '"large"' })).output, ['HOST_RESULT_TOO_LARGE'])
})

t.test('twenty host calls at once: eight fly, the others wait, all are answered', async (t) => {
  let flying = 0
  let most = 0
  const what = call(
    'export const run = (_, ctx) => Promise.all(Array.from({ length: 20 }, (_, i) => ctx.progress(i)))',
    {
      async onHostCall(_name, args) {
        most = Math.max(most, ++flying)
        await new Promise((resolve) => setImmediate(resolve))
        flying--
        return args
      }
    }
  )
  const { output, result } = await outcome(box, what)
  t.strictSame(
    output,
    Array.from({ length: 20 }, (_, i) => [i])
  )
  t.equal(result?.hostCalls, 20)
  t.ok(most <= 8 && most > 1, `${most} at once`)
})

t.test('what a call left behind does not reach the next one', async (t) => {
  const source = `let late = 'nothing'; export const run = async (mode, ctx) => {
    if (mode === 'leave') { ctx.progress(1).then(() => { late = 'ran' }); return 'left' }
    return late
  }`
  let answer: () => void = () => undefined
  const what = call(source, { onHostCall: () => new Promise((resolve) => (answer = () => resolve('1'))) })
  t.equal((await outcome(box, { ...what, input: '"leave"' })).output, 'left')
  answer()
  t.equal((await outcome(box, { ...what, input: '"look"' })).output, 'nothing')
})

t.test('logs arrive in order, with level, without terminal escapes, up to a limit', async (t) => {
  const entries: { level: string; message: string }[] = []
  const onLog = (entry: { level: string; message: string }) => entries.push(entry)
  const source = `export const run = (_, ctx) => {
    console.log('a', { b: 1 }, 2n, undefined); ctx.log.warn('\\u001b[2Jred\\nline'); console.error(new TypeError('bad')); console.info(Symbol('s')); return 1 }`
  await box.run(call(source, { onLog }))
  t.strictSame(entries, [
    { level: 'info', message: 'a {"b":1} 2 undefined' },
    { level: 'warn', message: '[2Jred\nline' },
    { level: 'error', message: 'TypeError: bad' },
    { level: 'info', message: 'Symbol(s)' }
  ])
  entries.length = 0
  await box.run(call('export const run = () => { for (let i = 0; i < 1e5; i++) console.log(i); return 1 }', { onLog }))
  t.equal(entries.length, 1001)
  t.match(entries[1000], { level: 'warn', message: /limit reached/ })
  entries.length = 0
  await box.run(
    call('export const run = () => { for (let i = 0; i < 100; i++) console.log("x".repeat(1e6)); return 1 }', { onLog })
  )
  t.ok(entries.reduce((sum, entry) => sum + entry.message.length, 0) < 80_000)
})

t.test('one megabyte goes in and out', async (t) => {
  const text = 'x'.repeat(1024 * 1024 - 2)
  const result = await box.run(call('export const run = (i) => i', { input: JSON.stringify(text) }))
  t.equal(result.output.length, 1024 * 1024)
})
