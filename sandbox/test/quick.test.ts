// Calls of an isolate whose last one was quick run on the cell's own thread. Whatever they do then ends as it would elsewhere.
import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const lines: string[] = []
/** The same skill, called twice harmlessly and then with the body. */
async function afterQuickOnes(text: string, verified = true) {
  const source = `let n = 0; const bad = async (input, ctx) => { ${text} }; export const run = (input, ctx) => ++n < 3 ? n : bad(input, ctx)`
  const what = call(source, {
    onHostCall: async (_name, args) => args,
    onLog: ({ message }) => lines.push(message),
    limit: { cpuMs: 300, wallMs: 2000 },
    verified
  })
  t.strictSame([(await outcome(box, what)).output, (await outcome(box, what)).output], [1, 2])
  return outcome(box, what)
}

const cases: [string, string, string | undefined, string | undefined][] = [
  ['a loop', 'for (;;);', 'SANDBOX_TIMEOUT', 'the tool used more than 300 ms of CPU time'],
  ['a microtask loop', 'for (;;) await 0', 'SANDBOX_TIMEOUT', 'the tool used more than 300 ms of CPU time'],
  ['a loop after a host call', 'await ctx.progress(1); for (;;);', 'SANDBOX_TIMEOUT', undefined],
  [
    'a promise that never settles',
    'await new Promise(() => {})',
    'SANDBOX_TIMEOUT',
    'the tool did not answer within 2000 ms'
  ],
  ['an error', 'throw new RangeError("mine")', 'SKILL_ERROR', 'mine'],
  ['a rejection that nobody handles', 'Promise.reject(new Error("floating")); return 1', 'SKILL_ERROR', 'floating'],
  ['a crash', 'return "a".repeat(2 ** 28).split("").length', 'SANDBOX_KILLED', undefined],
  [
    'a built-in without end after a host call',
    'await ctx.progress(1); return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)',
    'SANDBOX_KILLED',
    undefined
  ],
  [
    'a built-in without end',
    'return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)',
    'SANDBOX_KILLED',
    "the skill's process was killed: it used more CPU time than allowed, in a built-in that cannot be interrupted"
  ]
]
for (const verified of [true, false])
  t.test(verified ? 'JIT' : 'jitless', async (t) => {
    for (const [name, text, code, message] of cases) {
      const found = await afterQuickOnes(text, verified)
      t.equal(found.code, code, name)
      if (message) t.equal(found.error?.message, message, name)
    }
    t.match(
      (await afterQuickOnes('const a = []; for (;;) a.push(new Array(1e5).fill(1.5))', verified)).code,
      /SANDBOX_(MEMORY|KILLED|TIMEOUT)/
    )
    t.strictSame((await afterQuickOnes('return ctx.progress(await ctx.progress(1))', verified)).output, [[1]])
    lines.length = 0
    t.equal((await afterQuickOnes('console.log("one"); await null; console.log("two"); return 1', verified)).output, 1)
    t.strictSame(lines, ['one', 'two'])
  })

t.test('a call that hangs the thread takes no other call of its tenant with it', async (t) => {
  const source =
    'let n = 0; export const run = (hang) => hang && ++n > 2 ? [].indexOf.call({ length: 2 ** 53 - 1 }, 1) : 1'
  const hang = call(source, { sessionId: 'hang', input: 'true', limit: { cpuMs: 300, wallMs: 5000 } })
  for (let i = 0; i < 2; i++) await box.run(hang)
  const honest = call('export const run = (i) => i', { sessionId: 'honest', input: '7', limit: { wallMs: 20_000 } })
  await box.run(honest)
  const [killed, ...others] = await Promise.all([outcome(box, hang), ...[1, 2, 3].map(() => outcome(box, honest))])
  t.equal(killed.code, 'SANDBOX_KILLED')
  t.strictSame(
    others.map(({ output }) => output),
    [7, 7, 7]
  )
})

t.test('a call that was thought to be quick leaves another late, not guilty: nobody is killed', async (t) => {
  const source = `export const run = async (loop, ctx) => { await ctx.progress(1); if (loop) for (;;); return 1 }`
  const answer = (ms: number) => async () => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    return '1'
  }
  const tenantId = 'thought-quick'
  const long = call(source, {
    tenantId,
    input: 'false',
    limit: { cpuMs: 1000, wallMs: 20_000 },
    onHostCall: answer(150)
  })
  for (let i = 0; i < 3; i++) await box.run(long)
  const other = { tenantId, sessionId: 'other', limit: { wallMs: 400 } }
  const before = box.status().counts.kills
  const [looped, late] = await Promise.all([
    outcome(box, { ...long, input: 'true' }),
    outcome(box, call(source, { ...other, input: 'false', onHostCall: answer(300) }))
  ])
  t.equal(looped.error?.message, 'the tool used more than 1000 ms of CPU time')
  t.equal(late.error?.message, 'the tool did not answer within 400 ms')
  t.equal(box.status().counts.kills, before)
})
