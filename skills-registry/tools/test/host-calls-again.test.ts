import t from 'tap'
import { z } from 'zod'
import type { CallRecord, PinnedSkill, ToolCall, ToolError } from '#core/ports/tools.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { CALL_LIMITS, CallBudget } from '#skills-registry/tools/budget.ts'
import { type Method, method } from '#skills-registry/tools/capability.ts'
import { HostCalls } from '#skills-registry/tools/host-calls.ts'
import { Landing } from '#skills-registry/tools/landing.ts'

// What a run finds that comes after one which a crash cut off: the time, the budgets, what called tools did.
const r = await registryApp(t)
const acme = await r.makeTenant()
let sessions = 0
const newSession = () => `01900000-0000-7000-8000-${String(++sessions).padStart(12, '0')}`
const seen: unknown[] = []
const outside = (answer: unknown): Method =>
  method<[]>({
    args: z.tuple([]),
    audit: null,
    outside: async ({ call, nested }) => {
      seen.push(call.time)
      if (answer === 'called') nested({ cpuMs: 2.5, hostCalls: 3 } as CallRecord)
      return answer
    }
  })
const gates = new Map<string, PromiseWithResolvers<void>>()
const methods = new Map<string, Method>([
  [
    'gate.wait',
    method<[string]>({
      args: z.tuple([z.string()]),
      audit: null,
      async outside(_call, [name]) {
        await gates.get(name)?.promise
        return name
      }
    })
  ],
  ['model.run', outside({ text: 'a\u0000b', usage: { inputTokens: 10, outputTokens: 30 } })],
  ['events.publish', outside({ event: 'e' })],
  ['tools.call', outside('called')],
  [
    'row.write',
    method<[string]>({
      args: z.tuple([z.string()]),
      audit: null,
      async inTx(tx, _call, [key]) {
        await tx`insert into core.journal (actor_id, key, record, epoch)
                 values (${acme.tenantId}, ${key}, ${tx.json(1)}, 1)`
        return null
      }
    })
  ]
])

async function open(sessionId: string, more: { under?: string; time?: number; budget?: CallBudget } = {}) {
  const { under = '', time = 1000, budget = new CallBudget({ tokens: 100 }) } = more
  const stops: ToolError[] = []
  const ended = new AbortController()
  const calls = await HostCalls.open(
    { db: r.db, methods, log: { error: () => {} } },
    {
      tenantId: acme.tenantId,
      sessionId,
      step: 's',
      attempt: 1,
      effectKey: `${sessionId}/s`,
      skill: { name: '@acme/one', version: '1.0.0' } as PinnedSkill,
      permissions: {},
      context: { tenantId: acme.tenantId },
      signal: ended.signal,
      call: { time } as ToolCall,
      callers: [],
      chain: ['one.run'],
      budget
    },
    { callKey: `${sessionId}/s#1${under}`, time, stop: (error) => stops.push(error) }
  )
  return { calls, budget, stops, ended }
}
const rowsOf = (sessionId: string) =>
  r.db.tenant(acme.tenantId, (tx) => tx`select n from tools.host_call where session_id = ${sessionId}`)

t.test('the time is that of the first run also where only a called tool had journaled something', async (t) => {
  const sessionId = newSession()
  const first = await open(sessionId)
  const inner = await open(sessionId, { under: '/1', budget: new CallBudget({ tokens: 0 }, first.budget) })
  await inner.calls.answer('events.publish', '[]', 1)
  const other = await open(sessionId, { under: '0', time: 5 })
  t.equal(other.calls.time, 5, 'attempt 10 is another call than attempt 1')
  await other.calls.answer('events.publish', '[]', 1)

  const again = await open(sessionId, { time: 2000 })
  t.equal(again.calls.time, 1000, 'what the tool computes of it is what it had sent to the called one')
  await again.calls.answer('tools.call', '[]', 1)
  t.equal(seen.at(-1), 1000, 'what it calls now sees that too')
})

t.test('what was spent before the crash is not there again: tokens, events, called tools', async (t) => {
  const sessionId = newSession()
  const first = await open(sessionId)
  await first.calls.answer('model.run', '[]', 1)
  await first.calls.answer('tools.call', '[]', 2)
  const child = new CallBudget({ tokens: 100 }, first.budget)
  const inner = await open(sessionId, { under: '/3', budget: child })
  await inner.calls.answer('model.run', '[]', 1)
  await inner.calls.answer('events.publish', '[]', 2)

  const { budget } = await open(sessionId)
  t.equal(budget.tokensLeft, 20)
  t.equal(budget.tokens, 0, 'told by the run that was cut off')
  for (let i = 1; i < CALL_LIMITS.events; i++) budget.countEvent()
  t.throws(() => budget.countEvent(), { code: 'EVENTS_LIMIT' })
  for (let i = 1; i < CALL_LIMITS.calledTools; i++) budget.countCalledTool()
  t.throws(() => budget.countCalledTool(), { code: 'TOOL_CALLS' })
  const called = new CallBudget({ tokens: 100 }, budget)
  await open(sessionId, { under: '/3', budget: called })
  t.equal(called.tokensLeft, 20, 'no part of it counts twice')
})

t.test('a call whose journal is full ends: neither it nor what it calls writes one row more', async (t) => {
  const sessionId = newSession()
  const { calls, budget, stops } = await open(sessionId)
  await calls.answer('events.publish', '[]', 1)
  budget.addJournal(CALL_LIMITS.journalChars)
  const full = { code: 'SANDBOX_HOST_CALLS', retryable: false, message: /longer than 16777216 characters/ }
  await t.rejects(calls.answer('events.publish', '[]', 2), full)
  await t.rejects(calls.answer('no.such', '[]', 3), full, 'a refusal is a row, too')
  t.match(stops, [full])
  const inner = await open(sessionId, { under: '/4', budget: new CallBudget({ tokens: 0 }, budget) })
  await t.rejects(inner.calls.answer('events.publish', '[]', 1), full)
  t.equal((await rowsOf(sessionId)).length, 1)
  await r.sql`update tools.host_call set args = repeat('x', ${CALL_LIMITS.journalChars}) where session_id = ${sessionId}`
  await t.rejects((await open(sessionId)).calls.answer('events.publish', '[]', 2), full, 'nor does its repetition')
})

t.test('answers come in the order in which they came to the first run, whatever is asked first', async (t) => {
  const sessionId = newSession()
  const names = ['a', 'b', 'c', 'd']
  for (const name of names) gates.set(name, Promise.withResolvers())
  const ask = async (calls: HostCalls, heard: string[], name: string, n: number) => {
    await calls.answer('gate.wait', JSON.stringify([name]), n)
    heard.push(name)
  }
  const heard: string[] = []
  const first = await open(sessionId)
  const asked = new Map(names.map((name, i) => [name, ask(first.calls, heard, name, i + 1)]))
  for (const name of ['c', 'a', 'b']) {
    gates.get(name)?.resolve()
    await asked.get(name)
  }
  t.strictSame(heard, ['c', 'a', 'b'], 'd was under way when the host died')

  gates.set('d', Promise.withResolvers())
  const again: string[] = []
  const { calls } = await open(sessionId)
  const all = names.map((name, i) => ask(calls, again, name, i + 1))
  await Promise.all(all.slice(0, 3))
  gates.get('d')?.resolve()
  await all[3]
  t.strictSame(again, ['c', 'a', 'b', 'd'])
  const rows = await r.sql`select n, landed from tools.host_call where session_id = ${sessionId} order by landed`
  t.strictSame(
    rows.map(({ n, landed }) => [n, landed]),
    [
      [3, 1],
      [1, 2],
      [2, 3],
      [4, 4]
    ]
  )
})

t.test('an answer that was journaled first waits for one that had landed before it', async (t) => {
  const landing = new Landing([])
  const [one, two] = [landing.next(), landing.next()]
  const heard: string[] = []
  const waiting = two.before.then(() => heard.push('two'))
  await Promise.resolve()
  t.strictSame([one.landed, two.landed, heard.length], [1, 2, 0])
  heard.push('one')
  one.given()
  await waiting
  t.strictSame(heard, ['one', 'two'])
})

t.test('nobody waits for what is left out this time', async (t) => {
  const landing = new Landing([
    { n: 1, landed: 2 },
    { n: 2, landed: 1 },
    { n: 3, landed: 3 }
  ])
  t.equal(landing.asked(1)?.landed, 2)
  landing.asked(1)?.given()
  await landing.asked(3)?.before
  t.equal(landing.next().landed, 4)
})

t.test('a host call that waited until its call was over does nothing', async (t) => {
  const sessionId = newSession()
  const { calls, ended, stops } = await open(sessionId)
  ended.abort()
  await t.rejects(calls.answer('row.write', '["late"]', 1))
  t.strictSame(stops, [], 'that is no failure of the journal')
  t.equal((await rowsOf(sessionId)).length, 0)
  const rows = await r.db.tenant(acme.tenantId, (tx) => tx`select 1 from core.journal where key = 'late'`)
  t.equal(rows.length, 0)
})
