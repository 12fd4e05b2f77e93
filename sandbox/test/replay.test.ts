// What was recorded of a call gives the same bytes again, whatever the clock and the host did the first time.
import t from 'tap'
import type { SandboxCall } from '../index.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

// The tool is an interpreter of a plan and tells in which order its parts ended.
const INTERPRETER = `
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  export async function run(plan, ctx) {
    const trace = []
    const settled = (promise) => promise.then((value) => ['ok', value], (error) => ['no', error.code ?? error.name, error.message])
    const go = async ([op, id, ...rest]) => {
      let value = id
      if (op === 'call') value = await ctx.ask(id)
      else if (op === 'fail') value = await settled(ctx.fail(id))
      else if (op === 'sleep') await sleep(rest[0])
      else if (op === 'seq') for (const one of rest) await go(one)
      else if (op === 'all') value = await Promise.all(rest.map(go))
      else if (op === 'race') value = await Promise.race(rest.map(go))
      else if (op === 'any') value = await settled(Promise.any(rest.map(go)))
      else if (op === 'timeout') {
        const signal = AbortSignal.timeout(rest[0])
        const gone = new Promise((_, no) => signal.addEventListener('abort', () => no(signal.reason)))
        value = await settled(Promise.race([gone, go(rest[1])]))
      } else if (op === 'clear') {
        const timer = setTimeout(() => trace.push(['fired', id]), rest[0])
        await go(rest[1])
        clearTimeout(timer)
      }
      trace.push([op, id])
      return value
    }
    const value = await go(plan)
    return { value, trace, chance: Math.random() }
  }`

let state = 20_261_123
/** 0 to n - 1, the same in each run of this file. */
function draw(n: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return Math.floor((state / 2 ** 32) * n)
}

let lastId = 0
type Plan = [string, number, ...unknown[]]
function plan(depth: number): Plan {
  const id = ++lastId
  const leaf = (): Plan => {
    const what = draw(5)
    return what < 3 ? ['call', id] : what === 3 ? ['fail', id] : ['sleep', id, 1 + draw(6)]
  }
  if (depth === 0) return leaf()
  const kids = () => Array.from({ length: 2 + draw(3) }, () => plan(depth - 1))
  const op = ['seq', 'all', 'race', 'any', 'timeout', 'clear'][draw(6)] ?? 'seq'
  return op === 'timeout' || op === 'clear' ? [op, id, 1 + draw(8), plan(depth - 1)] : [op, id, ...kids()]
}

/** Runs by the clock, with a host that answers when it likes. */
async function record(what: SandboxCall, latency: () => number) {
  const answers = new Map<number, [boolean, string]>()
  const ended = await outcome(box, {
    ...what,
    async onHostCall(name, args, n) {
      const good = name !== 'fail'
      answers.set(n, [good, `{"n":${n},"args":${args}}`])
      const ms = latency()
      if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
      if (good) return answers.get(n)?.[1] ?? ''
      throw Object.assign(new Error(`refused ${n}`), { code: 'HOST_REFUSED' })
    }
  })
  const usage = ended.result?.usage ?? ended.error?.usage
  return { ...ended, usage, answers }
}

async function replay(what: SandboxCall, recorded: Awaited<ReturnType<typeof record>>, wakes?: readonly number[]) {
  return outcome(box, {
    ...what,
    replay: { wakes: wakes ?? recorded.usage?.wakes ?? [] },
    async onHostCall(_name, _args, n) {
      const [good, text] = recorded.answers.get(n) ?? [true, '"never asked before"']
      if (good) return text
      throw Object.assign(new Error(`refused ${n}`), { code: 'HOST_REFUSED' })
    }
  })
}

const many: Plan = ['all', 0, ...Array.from({ length: 24 }, (_, i): Plan => ['race', i, ['call', i], ['sleep', i, 2]])]
const capabilities = ['ask', 'fail', 'log']
const limit = { cpuMs: 20_000, wallMs: 30_000, hostCalls: 100 }

for (const verified of [true, false])
  t.test(`races of timers and host calls end as they did, ${verified ? 'JIT' : 'jitless'}`, async (t) => {
    const plans = [many, ...Array.from({ length: 20 }, () => plan(3))]
    const skill = call(INTERPRETER, { verified, capabilities, limit })
    const seen = new Map<Plan, Set<string>>()
    await Promise.all(
      plans.map(async (one, i) => {
        // The same isolate for all runs of a plan: from the second on, calls may run on the cell's own thread.
        const what = { ...skill, input: JSON.stringify(one), sessionId: `plan-${i}`, seed: `seed-${i}` }
        const outputs = new Set<string>()
        seen.set(one, outputs)
        for (let run = 0; run < 3; run++) {
          const recorded = await record(what, () => draw(12))
          t.equal(recorded.error, undefined)
          const again = await replay(what, recorded)
          t.equal(again.result?.output, recorded.result?.output, JSON.stringify(one))
          t.strictSame(again.result?.usage.wakes, recorded.usage?.wakes)
          t.equal(again.result?.hostCalls, recorded.result?.hostCalls)
          outputs.add(String(recorded.result?.output))
        }
      })
    )
    t.ok(
      [...seen.values()].some((outputs) => outputs.size > 1),
      'the clock did decide something'
    )
  })

const body = (text: string) => `export async function run(input, ctx) { ${text} }`
const wait = (text: string) => call(body(text), { capabilities, limit })

t.test('what woke the tool up: answers by their number, timers counted in the call', async (t) => {
  const what = wait(`
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    clearTimeout(setTimeout(() => {}, 1)); await ctx.ask(1); await sleep(1); await Promise.all([ctx.ask(2), ctx.ask(3)]); return 1`)
  for (const nth of [0, 1]) {
    const { usage } = await record(what, () => 0)
    t.strictSame([...(usage?.wakes ?? [])].sort(), [1, -2, 2, 3].sort())
    t.equal(usage?.wakes[1], -2)
    t.equal(usage?.nth, nth)
    t.equal(usage?.hostCalls, 3)
  }
  t.strictSame((await record(call(body('return 1')), () => 0)).usage?.wakes, [])
})

t.test('an error of the tool is replayed, too, and a limit that the clock decides is not', async (t) => {
  const failing = wait(
    'await ctx.ask(1); setTimeout(() => { throw new Error("late") }, 1); await new Promise(() => {})'
  )
  const recorded = await record(failing, () => 1)
  t.equal(recorded.code, 'SKILL_ERROR')
  const again = await replay(failing, recorded)
  t.match(again.error, { code: 'SKILL_ERROR', message: 'late', usage: { wakes: [1, -1], replayable: true } })
  t.equal(again.error?.details.stack, recorded.error?.details.stack)
  const stop = new AbortController()
  const endless = wait('await ctx.ask(1); await ctx.ask(2); await new Promise(() => {})')
  const stopped = await outcome(box, {
    ...endless,
    signal: stop.signal,
    async onHostCall(_name, args, n) {
      if (n === 2) stop.abort()
      return args
    }
  })
  t.match(stopped.error, { code: 'SANDBOX_CANCELLED', usage: { wakes: [1], hostCalls: 2, replayable: false } })
  const { error } = await outcome(box, call(body('for (;;);'), { limit: { cpuMs: 50 } }))
  t.match(error, { code: 'SANDBOX_TIMEOUT', usage: { replayable: false, killed: false } })
  t.ok((error?.usage?.cpuMs ?? 0) >= 50)
})

t.test('timers of a replay do not take their time', async (t) => {
  const what = wait('await Promise.race([ctx.ask(1), new Promise((resolve) => setTimeout(resolve, 1e8))]); return 1')
  const again = await replay(what, await record(what, () => 0), [-1])
  t.equal(again.output, 1)
})

t.test('a tool that cannot follow says what should have come', async (t) => {
  const what = wait(
    'const a = await ctx.ask(1); if (a.more) await ctx.ask(2); await new Promise((r) => setTimeout(r, 1)); return a'
  )
  const recorded = await record(what, () => 0)
  t.strictSame(recorded.usage?.wakes, [1, -1])
  const cases: [readonly number[], string][] = [
    [[1, 2, -1], 'wake 2 of 3 is the answer of host call 2, the tool waits for timer 1'],
    [[-1, 1], 'wake 1 of 2 is timer 1, the tool waits for host call 1'],
    [[1], 'the recording ends after 1 wakes, the tool still waits for timer 1'],
    [[], 'the recording ends after 0 wakes, the tool still waits for host call 1']
  ]
  for (const [wakes, expected] of cases) {
    const { error } = await replay(what, recorded, wakes)
    t.match(error, { code: 'SANDBOX_DIVERGED', retryable: false, usage: { replayable: false } })
    t.equal(error?.message, `the tool does not follow the recording: ${expected}`)
  }
  recorded.answers.set(1, [true, '{"more":1}'])
  t.match((await replay(what, recorded)).error?.message, /wake 2 of 2 is timer 1, the tool waits for host call 2/)
  t.equal((await record(what, () => 0)).output !== undefined, true, 'the session goes on with a fresh isolate')
})

t.test('a recording that is none is refused', async (t) => {
  for (const wakes of [[0], [1.5], ['1'], new Array(2000).fill(1)] as number[][])
    await t.rejects(box.run({ ...wait('return 1'), replay: { wakes } }), TypeError)
})
