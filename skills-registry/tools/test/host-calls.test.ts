import t from 'tap'
import { z } from 'zod'
import type { PinnedSkill, ToolCall, ToolError } from '#core/ports/tools.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import { CapabilityError, type Method, method } from '#skills-registry/tools/capability.ts'
import { HostCalls } from '#skills-registry/tools/host-calls.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const skill = { name: '@acme/one', version: '1.0.0' } as PinnedSkill
let sessions = 0
let sent: unknown[] = []

const methods = new Map<string, Method>([
  [
    'world.send',
    method<[{ to: string }]>({
      args: z.tuple([z.strictObject({ to: z.string() })]),
      audit: (_call, [{ to }]) => ({ action: 'tool.sent', subject: `to:${to}` }),
      async outside(call, [{ to }]) {
        if (to === 'nowhere') throw new CapabilityError('CAPABILITY_DENIED', 'not there')
        if (to === 'broken') throw new Error('a path: /etc/secret')
        sent.push([to, call.idempotencyKey])
        return { sent: sent.length }
      }
    })
  ],
  [
    'row.write',
    method<[string]>({
      args: z.tuple([z.string()]),
      audit: () => ({ action: 'tool.wrote', subject: 'row:1' }),
      async inTx(tx, _call, [text]) {
        if (text === 'full') throw new CapabilityError('ROW_QUOTA', 'no room')
        await tx`insert into core.journal (actor_id, key, record, epoch)
                 values (${acme.tenantId}, ${text}, ${tx.json(1)}, 1)`
        return null
      }
    })
  ]
])

function caller(sessionId: string, signal = new AbortController().signal) {
  return {
    tenantId: acme.tenantId,
    sessionId,
    step: 's',
    attempt: 1,
    effectKey: `${sessionId}/s`,
    skill,
    permissions: {},
    context: { tenantId: acme.tenantId, actor: { kind: 'skill' as const, id: '@acme/one' } },
    signal,
    call: {} as ToolCall,
    callers: [],
    chain: ['one.run'],
    budget: new CallBudget({ tokens: 0 })
  }
}

async function run(sessionId = newSession(), time = 1000, signal?: AbortSignal) {
  const stops: ToolError[] = []
  const lines: object[] = []
  const log = { error: (fields: object) => lines.push(fields) }
  const options = { callKey: `${sessionId}/s#1`, time, stop: (error: ToolError) => stops.push(error) }
  const calls = await HostCalls.open({ db: r.db, methods, log }, caller(sessionId, signal), options)
  return { calls, stops, lines, sessionId }
}
const newSession = () => `01900000-0000-7000-8000-${String(++sessions).padStart(12, '0')}`
const actions = (subject: string) =>
  r.db.tenant(acme.tenantId, async (tx) => {
    const rows = await tx<{ action: string; actor: string }[]>`
      select action, actor_kind || ':' || actor_id as actor from audit.entry where subject = ${subject}`
    return rows.map(({ action, actor }) => `${action} by ${actor}`)
  })

t.beforeEach(() => {
  sent = []
})

t.test('an effect is done, journaled and audited once; a run after a crash hears the same', async (t) => {
  const first = await run()
  t.equal(await first.calls.answer('world.send', '[{"to":"alice"}]', 1), '{"sent":1}')
  t.equal(await first.calls.answer('row.write', '["a"]', 2), 'null')
  t.strictSame(sent, [['alice', `${first.sessionId}/s/1`]])
  t.strictSame(await actions('to:alice'), ['tool.sent by skill:@acme/one'])

  const again = await run(first.sessionId, 2000)
  t.equal(again.calls.time, 1000, 'the repeated run sees the time of the first')
  t.equal(await again.calls.answer('world.send', '[{"to":"alice"}]', 1), '{"sent":1}')
  t.equal(await again.calls.answer('row.write', '["a"]', 2), 'null')
  t.equal(await again.calls.answer('world.send', '[{"to":"bob"}]', 3), '{"sent":2}', 'what is new is done')
  t.equal(sent.length, 2)
  t.equal(again.calls.digest([1, 2]), first.calls.digest([1, 2]))
  t.not(again.calls.digest([1, 2, 3]), first.calls.digest([1, 2]))
})

t.test('a repeated run that asks something else ends, and may be tried anew', async (t) => {
  const first = await run()
  await first.calls.answer('world.send', '[{"to":"alice"}]', 1)
  const again = await run(first.sessionId)
  await t.rejects(again.calls.answer('world.send', '[{"to":"eve"}]', 1), { code: 'TOOL_DIVERGED', retryable: true })
  t.match(again.stops, [{ code: 'TOOL_DIVERGED', details: { n: 1 } }])
  await t.rejects(again.calls.answer('row.write', '["x"]', 2), { code: 'TOOL_DIVERGED' }, 'nothing is done any more')
  t.equal(sent.length, 1)
})

t.test('two hosts in the same attempt: the second effect of a transaction is not there', async (t) => {
  const one = await run()
  const two = await run(one.sessionId)
  await one.calls.answer('row.write', '["once"]', 1)
  await t.rejects(two.calls.answer('row.write', '["twice"]', 1), { code: 'TOOL_JOURNAL_FAILED', retryable: true })
  const rows = await r.db.tenant(acme.tenantId, (tx) => tx`select key from core.journal where key in ('once', 'twice')`)
  t.strictSame(
    rows.map(({ key }) => key),
    ['once']
  )
})

t.test('a refusal and a failure reach the author, are journaled, and tell nothing of the host', async (t) => {
  const { calls, lines, sessionId } = await run()
  const denied = { code: 'CAPABILITY_DENIED', message: 'not there' }
  await t.rejects(calls.answer('world.send', '[{"to":"nowhere"}]', 1), denied)
  await t.rejects(calls.answer('world.send', '[{"to":"nowhere"}]', 2), denied)
  t.strictSame(await actions(`session:${sessionId}`), ['tool.denied by skill:@acme/one'], 'a flood is one row')
  await t.rejects(calls.answer('world.send', '[{"to":"broken"}]', 3), {
    code: 'HOST_CALL_FAILED',
    message: 'the host could not answer'
  })
  t.equal(lines.length, 1)
  await t.rejects(calls.answer('row.write', '["full"]', 4), { code: 'ROW_QUOTA', message: 'no room' })
  await t.rejects(calls.answer('row.write', '[7]', 5), {
    code: 'ARGUMENTS_INVALID',
    message: /^ctx\.row\.write \/0: .*string/
  })
  await t.rejects(calls.answer('no.such', '[]', 6), { code: 'CAPABILITY_DENIED' })
  const again = await run(sessionId)
  await t.rejects(again.calls.answer('world.send', '[{"to":"nowhere"}]', 1), denied)
  await t.rejects(again.calls.answer('row.write', '["full"]', 4), { code: 'ROW_QUOTA' })
})

t.test('what fails because the call has ended is not journaled: its repetition does it properly', async (t) => {
  const ended = new AbortController()
  const { calls, sessionId } = await run(newSession(), 1, ended.signal)
  ended.abort()
  await t.rejects(calls.answer('world.send', '[{"to":"broken"}]', 1))
  const again = await run(sessionId)
  t.equal(await again.calls.answer('world.send', '[{"to":"carol"}]', 1), '{"sent":1}')
})
