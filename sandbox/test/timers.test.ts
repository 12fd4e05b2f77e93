import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())
const body = (text: string) => `export async function run(input, ctx) { ${text} }`
const sleep = 'const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));'

t.test('time that passes in a timer is counted as wall time, and Date stands still', async (t) => {
  const slept = await box.run(
    call(body(`${sleep} const before = Date.now(); await sleep(60); return Date.now() - before`))
  )
  t.equal(slept.output, '0')
  t.ok(slept.wallMs >= 59, `${slept.wallMs} ms`)
  const { code, error } = await outcome(box, call(body(`${sleep} await sleep(1e12)`), { limit: { wallMs: 150 } }))
  t.equal(code, 'SANDBOX_TIMEOUT')
  t.equal(error?.message, 'the tool did not answer within 150 ms')
})

t.test('a call sets 1000 timers at most, with a code of its own', async (t) => {
  for (const flood of [
    'for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 0)',
    'let n = 0; await new Promise(() => { const again = () => { n++; setTimeout(again, 0) }; again() })',
    'for (let i = 0; i < 1e6; i++) clearTimeout(setTimeout(() => {}, 0))'
  ]) {
    const { code, error } = await outcome(box, call(body(flood), { limit: { wallMs: 10_000 } }))
    t.equal(code, 'SKILL_ERROR', flood)
    t.equal(error?.message, 'a call may set 1000 timers')
  }
  t.match((await outcome(box, call(body('setTimeout("code", 1)')))).error?.message, /not a function/)
  t.match((await outcome(box, call(body('setInterval(() => {}, 1)')))).error?.message, /setInterval is not defined/)
  t.match(
    (await outcome(box, call('setTimeout(() => {}, 1); export const run = () => 1'))).error?.message,
    /during a call only/
  )
})

t.test('an error in a timer, a microtask or a listener fails the call with its own line', async (t) => {
  for (const [text, line] of [
    ['setTimeout(() => { throw new Error("late") }, 1); await new Promise(() => {})', 1],
    ['queueMicrotask(() => { throw new Error("late") }); await new Promise(() => {})', 1],
    [
      'const c = new AbortController(); c.signal.onabort = () => { throw new Error("late") }; c.abort(); await new Promise(() => {})',
      1
    ]
  ] as const) {
    const { code, error } = await outcome(box, call(body(text)))
    t.equal(code, 'SKILL_ERROR', text)
    t.equal(error?.message, 'late')
    t.match(String(error?.details.stack), new RegExp(`^at .*dist/index.js:${line}:`))
  }
})

t.test('a timer that is still open ends with its call, the isolate stays warm, and the log says so', async (t) => {
  const lines: string[] = []
  const source = `let n = 0; let late = 0; export const run = () => { setTimeout(() => late++, 5); return [++n, late] }`
  const what = call(source, { onLog: ({ message }) => lines.push(message) })
  t.strictSame((await outcome(box, what)).output, [1, 0])
  await box.run(call(body(`${sleep} await sleep(30); return 1`)))
  t.strictSame((await outcome(box, what)).output, [2, 0])
  t.equal(lines[0], 'the tool returned with 0 host calls and 1 timers still open: they were dropped, await them')
})

t.test(
  'ctx.signal fires when the call is cancelled or out of time, with room for a last word and none for effects',
  async (t) => {
    const lines: string[] = []
    const effects: string[] = []
    const source = body(`
    ctx.signal.addEventListener('abort', () => { console.log(ctx.signal.reason.name, ctx.signal.reason.message); ctx.progress('too late') })
    await ctx.progress('begun'); await new Promise((_, no) => { ctx.signal.onabort = () => no(ctx.signal.reason) })`)
    const what = {
      onLog: ({ message }: { message: string }) => lines.push(message),
      onHostCall: async (_name: string, args: string) => {
        effects.push(args)
        return '1'
      }
    }
    const late = await outcome(box, call(source, { ...what, limit: { wallMs: 200 } }))
    t.equal(late.code, 'SANDBOX_TIMEOUT')
    t.strictSame(lines, ['TimeoutError the tool did not answer within 200 ms'])
    const stop = new AbortController()
    const running = outcome(
      box,
      call(source, {
        ...what,
        signal: stop.signal,
        onHostCall: async (name, args) => {
          setImmediate(() => stop.abort())
          return what.onHostCall(name, args)
        }
      })
    )
    t.equal((await running).code, 'SANDBOX_CANCELLED')
    t.strictSame(effects, ['["begun"]', '["begun"]'])
    const deaf = await outcome(box, call(body('ctx.signal; for (;;) await 0'), { limit: { wallMs: 150, cpuMs: 9000 } }))
    t.equal(deaf.code, 'SANDBOX_TIMEOUT', 'who looks at the signal and goes on is ended')
  }
)
