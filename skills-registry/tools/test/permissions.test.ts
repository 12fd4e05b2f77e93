import t from 'tap'
import '#config/plugins.ts'
import { eventCatalogue } from '#core/events.ts'
import { ToolError } from '#core/ports/tools.ts'
import { Permissions } from '#skills-registry/package/manifest.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import {
  createEventsCapability,
  EVENT_FAMILY,
  eventName,
  mayPublish
} from '#skills-registry/tools/capabilities/events.ts'
import { guestData } from '#skills-registry/tools/capabilities/secrets.ts'
import { createToolsCapability } from '#skills-registry/tools/capabilities/tools.ts'
import type { HostCall, OutsideMethod } from '#skills-registry/tools/capability.ts'
import { intersect, namesFor } from '#skills-registry/tools/permissions.ts'
import type { Place, RunTool } from '#skills-registry/tools/run.ts'

const both = (a: unknown, b: unknown) => intersect(Permissions.parse(a), Permissions.parse(b))
const at = (host: string, methods: string[], secret?: string) => ({ host, methods, ...(secret ? { secret } : {}) })

t.test('a called skill may do what both it and its caller were granted', async (t) => {
  const rows: [string, object, object, object][] = [
    ['nothing with nothing', {}, { storage: 'write', events: ['a.b'] }, {}],
    [
      'the weaker of read and write',
      { storage: 'read', files: 'write' },
      { storage: 'write', files: 'read' },
      { storage: 'read', files: 'read' }
    ],
    [
      'names of both',
      { secrets: ['A', 'B'], events: ['a.b'] },
      { secrets: ['B', 'C'], events: ['a.c'] },
      { secrets: ['B'] }
    ],
    ['the fewer tokens', { model: { tokens: 9 } }, { model: { tokens: 5 } }, { model: { tokens: 5 } }],
    ['tools of both', { tools: ['x.a', 'x.b'] }, { tools: ['x.b', 'y.b'] }, { tools: ['x.b'] }],
    [
      'methods of both, at hosts of both',
      { fetch: [at('a.test.com', ['GET', 'POST']), at('b.test.com', ['GET'])] },
      { fetch: [at('a.test.com', ['POST', 'PUT'])] },
      { fetch: [at('a.test.com', ['POST'])] }
    ],
    ['no host of one only', { fetch: [at('a.test.com', ['GET'])] }, { fetch: [at('b.test.com', ['GET'])] }, {}]
  ]
  for (const [what, a, b, common] of rows) t.strictSame(both(a, b), common, what)
})

t.test('neither is lent the other’s secret: a request goes with one where both name it, else without', async (t) => {
  const plain = { fetch: [at('a.test.com', ['GET'])] }
  const mine = { fetch: [at('a.test.com', ['GET'], 'MINE')] }
  const theirs = { fetch: [at('a.test.com', ['GET'], 'THEIRS')] }
  t.strictSame(both(mine, mine), mine)
  t.strictSame(both(plain, theirs), plain, 'a caller does not get the secret of what it calls')
  t.strictSame(both(mine, plain), plain, 'what is called does not get the secret of its caller')
  t.strictSame(both(mine, theirs), plain)
  const rules = { fetch: [at('a.test.com', ['GET'], 'MINE'), at('a.test.com', ['GET', 'POST'])] }
  t.strictSame(both(rules, mine), mine, 'the first rule that names a method is the one that holds')
  t.strictSame(both({ fetch: [at('a.test.com', ['GET', 'POST'], 'MINE')] }, rules), {
    fetch: [at('a.test.com', ['GET'], 'MINE'), at('a.test.com', ['POST'])]
  })
})

t.test('what is granted decides which names stand in ctx', async (t) => {
  const capabilities = [createEventsCapability({ bus: { emit: async () => {} } })]
  t.strictSame(namesFor({ events: ['a.b'], storage: 'read' }, capabilities), ['events.publish'])
  t.strictSame(namesFor({ events: [] }, capabilities), [])
  t.strictSame(guestData({ secrets: ['A'] }), { secrets: ['A'] })
  t.equal(guestData({ secrets: [] }), undefined)
  t.equal(mayPublish({ events: ['a.b'] }, 'a.b'), true)
  for (const type of ['a', 'a.b.c', 'A.b', 'toString']) t.equal(mayPublish({ events: ['a.b'] }, type), false)
})

t.test('an event is called after its skill, and no two skills share a name', async (t) => {
  t.equal(eventName('@acme/csv-profile', 'report.made'), 'custom.acme.csv_profile.report.made')
  t.equal(eventName('@7zip/x', 'a.b'), 'custom.7zip.x.a.b')
  const names = ['@a/b-c', '@a-b/c', '@a/b', '@ab/c', '@a-b-c/d'].map((skill) => eventName(skill, 'c.d'))
  t.equal(new Set(names).size, names.length)
  const taken = eventCatalogue().filter(({ type }) => type.startsWith(`${EVENT_FAMILY}.`))
  t.strictSame(taken, [], 'no room has an event of this family')
})

t.test('tokens set aside cannot be had twice, by the call or by what it calls', async (t) => {
  const budget = new CallBudget({ tokens: 100 })
  const called = new CallBudget({ tokens: 80 }, budget)
  const first = budget.reserveTokens(10, 40)
  t.equal(first.answer, 40)
  t.equal(called.tokensLeft, 50)
  const second = called.reserveTokens(10, 1000)
  t.equal(second.answer, 40)
  const empty = { code: 'MODEL_BUDGET', message: /^0 tokens are left/ }
  t.throws(() => budget.reserveTokens(0, 1), empty)
  first.settle(15)
  t.equal(budget.tokensLeft, 35)
  second.settle(70)
  t.strictSame([budget.tokens, called.tokens], [85, 70])
  t.strictSame([budget.tokensLeft, called.tokensLeft], [15, 10])
  t.throws(() => called.reserveTokens(10, 5), { code: 'MODEL_BUDGET', message: /10 tokens are left.*about 10/ })
})

t.test('events and called tools are counted over the whole call', async (t) => {
  const budget = new CallBudget({ tokens: 0 })
  const called = new CallBudget({ tokens: 0 }, new CallBudget({ tokens: 0 }, budget))
  for (let n = 0; n < 50; n++) {
    budget.countEvent()
    called.countEvent()
  }
  for (const one of [budget, called]) t.throws(() => one.countEvent(), { code: 'EVENTS_LIMIT' })
  for (let n = 0; n < 256; n++) called.countCalledTool()
  t.throws(() => budget.countCalledTool(), { code: 'TOOL_CALLS' })
  called.addCalled({ cpuMs: 3, hostCalls: 2 })
  t.match(budget, { cpuMs: 3, hostCalls: 2, calls: 1 })
})

t.test('tools that one call asks for run one after the other, whatever becomes of them', async (t) => {
  const budget = new CallBudget({ tokens: 0 })
  const order: string[] = []
  const step = (name: string, fails = false) =>
    budget.inTurn(async () => {
      order.push(`${name} begins`)
      await new Promise(setImmediate)
      order.push(`${name} ends`)
      if (fails) throw new Error(name)
    })
  const ends = await Promise.allSettled([step('a', true), step('b'), step('c')])
  t.strictSame(order, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.strictSame(
    ends.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled']
  )
})

const grant = { tools: ['one.run'] }
const skill = { alias: 'one', skillId: 'id', name: '@acme/one', grant, tools: { run: {} }, calls: { one: 'id' } }
/** `ctx.tools.call` of a skill that may call itself. */
function calling(run: RunTool) {
  const ending = new AbortController()
  const call = {
    key: 's/one#1/1',
    idempotencyKey: 's/one/1',
    skill,
    permissions: grant,
    callers: ['@acme/above'],
    chain: ['one.run'],
    budget: new CallBudget({ tokens: 0 }),
    signal: ending.signal,
    call: { skills: [skill] },
    nested: () => {}
  } as unknown as HostCall
  const method = createToolsCapability({ run }).methods['tools.call'] as OutsideMethod<unknown>
  return { ending, call, ask: () => method.outside(call, ['one.run', {}]) }
}

t.test('a called tool ends with its caller, and one whose turn comes after that never begins', async (t) => {
  const ran: Place[] = []
  const { ending, ask } = calling(async (_call, _skill, _tool, _input, place) => {
    ran.push(place as Place)
    ending.abort(new Error('the caller ended'))
    throw new ToolError('SANDBOX_CANCELLED', 'the call was cancelled')
  })
  const ends = await Promise.allSettled([ask(), ask()])
  t.match(ends, [{ reason: { code: 'SANDBOX_CANCELLED' } }, { reason: { message: 'the caller ended' } }])
  t.equal(ran.length, 1)
  const { signal, key, effectKey, callers, chain } = ran[0] as Place
  t.equal(signal, ending.signal)
  t.strictSame(callers, ['@acme/above', skill.name])
  t.strictSame({ key, effectKey, chain }, { key: 's/one#1/1', effectKey: 's/one/1', chain: ['one.run', 'one.run'] })
})

t.test('what another attempt may cure is no answer for a caller; what the called tool did itself is', async (t) => {
  const usage = { cpuMs: 7, wallMs: 9, hostCalls: 2, tokens: 0, calls: 1, killed: false }
  const ends: [ToolError, string][] = [
    [new ToolError('SANDBOX_BUSY', 'full', { retryable: true }), 'ToolError'],
    [new ToolError('SANDBOX_CLOSED', 'the host stops'), 'ToolError'],
    [new ToolError('SANDBOX_KILLED', 'for another one', { retryable: true, usage }), 'ToolError'],
    [new ToolError('SANDBOX_KILLED', 'for its own doing', { usage }), 'CapabilityError'],
    [new ToolError('SKILL_ERROR', 'not today', { usage }), 'CapabilityError']
  ]
  for (const [error, name] of ends) {
    const { ask, call } = calling(() => Promise.reject(error))
    await t.rejects(ask(), { name, code: error.code, message: error.message })
    t.match(call.budget, error.usage ? { cpuMs: 7, hostCalls: 2, calls: 1 } : { cpuMs: 0, calls: 0 }, error.code)
  }
})
