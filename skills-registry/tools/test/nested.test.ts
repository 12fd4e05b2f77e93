import t from 'tap'
import type { PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { until } from '#test/support/until.ts'

// Tools that call tools, and what they publish and ask, in real cells.
const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key
const maxTokens: number[] = []
r.ports.provide('model', {
  run: async (request) => {
    maxTokens.push(request.maxTokens)
    return { text: 'yes', model: 'm', usage: { inputTokens: 10, outputTokens: 30 } }
  }
})

async function installed(options: Draft) {
  const signed = signedSkill(options, { author })
  const made = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  await r.post(acme, '/v1/skills', { ref: `${options.name}@1.0.0` })
}
const tool = { description: 'd', input: {}, output: {}, effect: 'none' }
const strict = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'] }
const shared = { events: ['thing.made', 'flood.made'], model: { tokens: 100 } }

await installed({
  name: '@acme/aid',
  manifest: {
    tools: {
      back: tool,
      held: { ...tool, input: strict, output: strict },
      fails: tool,
      spins: tool,
      waits: tool,
      tells: tool,
      asks: tool
    },
    permissions: { ...shared, events: ['thing.made', 'aid.only'], tools: ['lab.down', 'aid.back'] },
    limits: { cpuMs: 100 }
  },
  code: `
    export const back = (input, ctx) => ctx.tools.call('lab.down', input)
    export const held = ({ n }) => ({ n: n === 0 ? 'zero' : n })
    export const fails = () => { throw new RangeError('not today') }
    export const spins = () => { for (;;); }
    export const waits = (input, ctx) => new Promise(() => ctx.log.info('waiting'))
    export const tells = async (input, ctx) => [
      await ctx.events.publish('thing.made', {}), await ctx.events.publish('aid.only', {}).catch((e) => e.code)
    ]
    export const asks = (input, ctx) => ctx.model.run({ prompt: 'inner' })
  `
})
await installed({
  name: '@acme/lab',
  manifest: {
    tools: { down: tool, tries: tool, many: tool, waits: tool, publishes: tool, floods: tool, asks: tool },
    permissions: {
      ...shared,
      tools: ['aid.back', 'aid.held', 'aid.fails', 'aid.spins', 'aid.waits', 'aid.tells', 'aid.asks', 'lab.down']
    },
    limits: { hostCalls: 1000 }
  },
  code: `
    const told = (work) => work.then((value) => ({ value }), ({ code, message }) => ({ code, message }))
    export const down = async ({ n, via }, ctx) => {
      try {
        return await ctx.tools.call(via ?? 'lab.down', { n: n + 1, via })
      } catch (error) {
        return { n, code: error.code, message: error.message }
      }
    }
    export const tries = async ({ calls }, ctx) => {
      const ends = []
      for (const [address, input] of calls) ends.push(await told(ctx.tools.call(address, input)))
      return ends
    }
    export const many = (input, ctx) => Promise.all([1, 2, 3].map((n) => ctx.tools.call('aid.held', { n })))
    export const waits = (input, ctx) => ctx.tools.call('aid.waits')
    export const publishes = async ({ calls }, ctx) => {
      const ends = []
      for (const args of calls) ends.push(await told(ctx.events.publish(...args)))
      return [...ends, await ctx.tools.call('aid.tells')]
    }
    export const floods = async (input, ctx) => {
      const ends = await Promise.all(Array.from({ length: 101 }, () => told(ctx.events.publish('flood.made', {}))))
      return ends.filter(({ code }) => code)
    }
    export const asks = async (input, ctx) => {
      const first = await told(ctx.model.run({ prompt: 'outer' }))
      return [first, await told(ctx.tools.call('aid.asks')), await told(ctx.model.run({ prompt: 'last' }))]
    }
  `
})
const skills = await r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, ['@acme/lab']))
const [lab] = skills as [PinnedSkill]

let sessions = 0
function call(tool: string, input: unknown = {}, more: Partial<ToolCall> = {}) {
  const sessionId = `01900000-0000-7000-8000-${String(++sessions).padStart(12, '0')}`
  const about = { tenantId: acme.tenantId, sessionId, step: 's1', attempt: 1, effectKey: `${sessionId}/s1` }
  const signal = new AbortController().signal
  return r.tools.call({
    ...about,
    skill: lab,
    skills,
    tool,
    input,
    time: 1_700_000_000_000,
    seed: 's',
    signal,
    ...more
  })
}
const published = (type: string) =>
  r.db.tenant(acme.tenantId, async (tx) => [
    ...(await tx<{ subject: string; data: object }[]>`select subject, data from core.event where type = ${type}`)
  ])

t.test('tools call each other and themselves eight deep, and the way down is named; one place is enough', async (t) => {
  const itself = await call('down', { n: 1 }, { concurrency: 1 })
  const way = Array(9).fill('lab.down').join(' -> ')
  const message = `tools call each other 8 deep at most: ${way}`
  t.strictSame(itself.output, { n: 8, code: 'TOOL_DEPTH', message })
  t.match(itself.usage, { calls: 8 })
  const circle = await call('down', { n: 1, via: 'aid.back' }, { concurrency: 1 })
  const told = {
    n: 4,
    code: 'SKILL_ERROR',
    message: /8 deep at most: lab\.down -> aid\.back -> lab\.down -> aid\.back/
  }
  t.match(circle.output, told, 'the eighth did not catch it')
})

t.test('what a called tool fails with reaches its caller, which goes on', async (t) => {
  const calls = [
    ['aid.held', { n: 7 }],
    ['aid.held', { n: 'seven' }],
    ['aid.held', { n: 0 }],
    ['aid.fails'],
    ['aid.spins'],
    ...[['aid.gone'], ['gone.run'], ['lab.tries'], ['__proto__.x'], ['constructor.name'], ['aid'], ['']]
  ]
  const { output, usage } = await call('tries', { calls })
  const denied = Array(7).fill({ code: 'CAPABILITY_DENIED' })
  t.match(output, [
    { value: { n: 7 } },
    { code: 'TOOL_INPUT_INVALID', message: /input of aid\.held\/n/ },
    { code: 'TOOL_OUTPUT_INVALID', message: /output of aid\.held\/n/ },
    { code: 'SKILL_ERROR', message: /not today/ },
    { code: 'SANDBOX_TIMEOUT' },
    ...denied
  ])
  t.ok(usage.cpuMs >= 100, 'the caller is billed for what it had done')
})

t.test('calls made at the same time are all answered', async (t) => {
  const { output, usage } = await call('many', {}, { concurrency: 1 })
  t.strictSame(output, [{ n: 1 }, { n: 2 }, { n: 3 }])
  t.equal(usage.calls, 4)
})

t.test('who waits for a called tool can be cancelled', async (t) => {
  const lines: string[] = []
  const aborting = new AbortController()
  const onLog = ({ message }: { message: string }) => void lines.push(message)
  const ends = t.rejects(call('waits', {}, { signal: aborting.signal, onLog }), { code: 'SANDBOX_CANCELLED' })
  await until(() => lines.length > 0, 'the called tool waits')
  aborting.abort()
  await ends
  t.strictSame(lines, ['aid.waits: waiting'])
})

t.test('the session’s CPU is shared with called tools', async (t) => {
  const calls = [['aid.spins'], ['aid.held', { n: 1 }]]
  const { output } = await call('tries', { calls }, { left: { cpuMs: 100 } })
  t.match(output, [{ code: 'SANDBOX_TIMEOUT' }, { code: 'SANDBOX_TIMEOUT', message: /session/ }])
})

t.test('an event goes out under the skill’s own name, whatever it says of itself', async (t) => {
  const claims = { tenantId: 'another', sessionId: 'another', skill: '@acme/bank', event: 'session.completed' }
  const calls = [
    ['thing.made', claims],
    ['aid.only', {}],
    ['session.completed', {}],
    ['custom.acme.aid.thing.made', {}],
    ['thing.made', { text: 'x'.repeat(16 * 1024) }],
    ['thing.made', { deep: { text: '\u0000' } }],
    ['thing.made', [1]],
    ['thing.made', 'text']
  ]
  const { output, record } = await call('publishes', { calls })
  const denied = { code: 'CAPABILITY_DENIED' }
  const invalid = (message: RegExp) => ({ code: 'ARGUMENTS_INVALID', message })
  t.match(output, [
    { value: { event: 'custom.acme.lab.thing.made' } },
    denied,
    denied,
    denied,
    { code: 'EVENTS_TOO_LARGE', message: /16384 are allowed/ },
    invalid(/\/1\/deep\/text: contains U\+0000/),
    invalid(/\/1/),
    invalid(/\/1/),
    [{ event: 'custom.acme.aid.thing.made' }, 'CAPABILITY_DENIED']
  ])
  const sessionId = record.key.split('/')[0] ?? ''
  const about = { sessionId, step: 's1', version: '1.0.0' }
  t.strictSame(await published('custom.acme.lab.thing.made'), [
    { subject: `session:${sessionId}`, data: { ...about, skill: '@acme/lab', payload: claims } }
  ])
  t.strictSame(await published('custom.acme.aid.thing.made'), [
    { subject: `session:${sessionId}`, data: { ...about, skill: '@acme/aid', payload: {} } }
  ])
})

t.test('a call publishes a hundred events and no more', async (t) => {
  const { output } = await call('floods')
  t.match(output, [{ code: 'EVENTS_LIMIT' }])
  t.equal((output as unknown[]).length, 1)
  t.equal((await published('custom.acme.lab.flood.made')).length, 100)
})

t.test('a model’s tokens are shared by caller and called, and by what the session has left', async (t) => {
  const { output, usage } = await call('asks', {}, { left: { tokens: 80 } })
  t.match(output, [{ value: { text: 'yes' } }, { value: { text: 'yes' } }, { code: 'MODEL_BUDGET' }])
  t.strictSame(maxTokens, [78, 38])
  t.equal(usage.tokens, 80)
})
