// A cell dies under calls that did nothing wrong: they are run again, and the world outside notices nothing.
import t from 'tap'
import type { Sandbox, SandboxCall } from '../index.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

/** Kills the tenant's cell; two calls are in it, so nobody can be blamed. */
function kill(from: Sandbox, tenantId: string): void {
  const cell = from.status().cells.find((one) => one.tenantId === tenantId && one.calls > 0)
  if (cell) process.kill(cell.pid, 'SIGKILL')
}

let lastTenant = 0

interface Told {
  asked: [number, string][]
  lines: string[]
}

/**
 * Runs a tool beside another one and kills the cell when host call `at` is made; `answer` is asked once for each n.
 * `before` calls of the same session come first.
 */
async function interrupted(
  text: string,
  at: number,
  answer: (n: number, killed: Promise<void>) => Promise<string>,
  more: Parameters<typeof call>[1] & { before?: number } = {}
) {
  const tenantId = `retry-${++lastTenant}`
  const told: Told = { asked: [], lines: [] }
  const killed = Promise.withResolvers<void>()
  const beside = Promise.withResolvers<void>()
  const { before = 0, ...rest } = more
  let armed = false
  const what: SandboxCall = {
    ...call(text, { capabilities: ['ask', 'log'], limit: { cpuMs: 20_000, wallMs: 30_000 }, ...rest }),
    tenantId,
    onLog: ({ message }) => told.lines.push(message),
    async onHostCall(_name, args, n) {
      if (!armed) return args
      told.asked.push([n, args])
      if (n === at) {
        await beside.promise
        kill(box, tenantId)
        killed.resolve()
      }
      return answer(n, killed.promise)
    }
  }
  for (let i = 0; i < before; i++) await box.run(what)
  armed = true
  const other = outcome(box, {
    ...call('export const run = (_, ctx) => ctx.ask("beside")', {
      capabilities: ['ask'],
      limit: { wallMs: 30_000 },
      verified: rest.verified ?? true
    }),
    tenantId,
    sessionId: 'beside',
    async onHostCall() {
      beside.resolve()
      await killed.promise
      return '"fine"'
    }
  })
  const found = await outcome(box, what)
  const neighbour = await other
  t.equal(neighbour.output, 'fine', `the one beside it was run again, too: ${neighbour.error?.message}`)
  return { ...found, ...told }
}

for (const verified of [true, false])
  t.test(`host calls are made once, ${verified ? 'JIT' : 'jitless'}`, async (t) => {
    const source = `export async function run(input, ctx) {
      console.log('begun')
      const [a, b] = await Promise.all([ctx.ask('a'), ctx.ask('b')])
      console.log('two answers', a, b)
      const c = await ctx.ask('c')
      const d = await ctx.ask('d').catch((error) => error.code)
      console.log('end')
      return [a, b, c, d, Math.random()]
    }`
    const answer = async (n: number, killed: Promise<void>) => {
      // The third is under way when the cell dies; the second attempt gets the answer that it gave to the first.
      if (n === 3) await killed
      if (n === 4) throw Object.assign(new Error('no'), { code: 'HOST_REFUSED' })
      return `"answer ${n}"`
    }
    const found = await interrupted(source, 3, answer, { verified })
    t.strictSame((found.output as unknown[]).slice(0, 4), ['answer 1', 'answer 2', 'answer 3', 'HOST_REFUSED'])
    t.strictSame(found.asked, [
      [1, '["a"]'],
      [2, '["b"]'],
      [3, '["c"]'],
      [4, '["d"]']
    ])
    t.strictSame(found.lines, ['begun', 'two answers answer 1 answer 2', 'end'])
    t.match(found.result?.usage, { hostCalls: 4, replayable: true, killed: false })
  })

t.test('the second attempt takes the way of the first one, also where a timer had been faster', async (t) => {
  const source = `export async function run(input, ctx) {
    const first = ctx.ask('slow')
    const winner = await Promise.race([first, new Promise((resolve) => setTimeout(() => resolve('timer'), 5))])
    const second = await ctx.ask('because of ' + winner)
    return [winner, second, await first]
  }`
  const found = await interrupted(source, 2, async (n, killed) => {
    if (n === 1) await killed // at the second attempt it is there at once, before any timer
    return `"answer ${n}"`
  })
  t.strictSame(found.output, ['timer', 'answer 2', 'answer 1'])
  t.strictSame(found.asked, [
    [1, '["slow"]'],
    [2, '["because of timer"]']
  ])
  t.equal(found.result?.usage.wakes[0], -1)
})

t.test('a tool that asks for something else than before is not finished, and says where', async (t) => {
  const source = 'let n = 0; export const run = async (input, ctx) => { await ctx.ask("same"); return ctx.ask(++n) }'
  const found = await interrupted(source, 2, async (n) => `${n}`, { before: 1 })
  t.match(found.error, {
    code: 'SANDBOX_KILLED',
    retryable: true,
    message: /host call 2 is ask/,
    details: { reason: 'diverged', n: 2, hostCalls: 2 },
    usage: { hostCalls: 2, replayable: false }
  })
  t.strictSame(found.asked.at(-1), [2, '[2]'])
  t.equal(found.asked.length, 2)
  // What the caller answers tells a first attempt (armed) from the calls before; a fresh isolate has n = 0 again.
  const shorter = `let n = 0; export const run = async (input, ctx) => {
    const first = n++ === 0
    const answer = await ctx.ask('x')
    if (!first) return ctx.ask('y')
    if (answer === 'hang') await new Promise(() => {})
    return 'short'
  }`
  for (const text of ['"hang"', '"end"']) {
    const { error } = await interrupted(shorter, 2, async () => text, { before: 1 })
    t.match(
      error,
      { code: 'SANDBOX_KILLED', message: /host call 2 is not made/, details: { reason: 'diverged' } },
      text
    )
  }
})

t.test('the limit of host calls counts each once', async (t) => {
  const source = `export async function run(input, ctx) {
    for (let i = 1; ; i++) await ctx.ask(i)
  }`
  const found = await interrupted(source, 3, async (n) => `${n}`, {
    limit: { cpuMs: 20_000, wallMs: 30_000, hostCalls: 4 }
  })
  t.equal(found.code, 'SANDBOX_HOST_CALLS')
  t.strictSame(
    found.asked.map(([n]) => n),
    [1, 2, 3, 4]
  )
})
