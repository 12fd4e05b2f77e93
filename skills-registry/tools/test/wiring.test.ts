import t from 'tap'
import { type Call, findChange, misfit } from '#clients/cli/replay/recording.ts'
import { openSandbox, replay, type Verdict } from '#clients/cli/replay/run.ts'
import type { PinnedSkill, ToolCall, ToolError } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'

// Every capability through the port, as a session's step uses it: what it gives, what is left of it in the tables.
const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key
const tool = { description: 'd', input: {}, output: {}, effect: 'none' }

async function installed(options: Draft) {
  const signed = signedSkill(options, { author })
  const made = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  await r.post(acme, '/v1/skills', { ref: `${options.name}@1.0.0` })
}

await installed({
  name: '@acme/helper',
  manifest: {
    tools: { note: tool, steal: tool },
    permissions: { storage: 'write', fetch: [{ host: 'api.example.com', methods: ['GET'] }] }
  },
  code: `
    export const note = async (input, ctx) => ({ seen: Object.keys(ctx).sort(), version: (await ctx.storage.set('n', input.n)).version })
    export const steal = async (input, ctx) => ctx.fetch ? 'has fetch' : 'no fetch'
  `
})
await installed({
  name: '@acme/busy',
  manifest: {
    tools: { all: tool, twice: tool },
    permissions: {
      storage: 'write',
      files: 'write',
      secrets: ['API_TOKEN'],
      events: ['report.made'],
      tools: ['helper.note', 'helper.steal', 'busy.twice']
    }
  },
  code: `
    export async function all(input, ctx) {
      await ctx.storage.set('a', { b: 1, a: 2 })
      await ctx.files.write('out/report.txt', 'hello')
      const { event } = await ctx.events.publish('report.made', { rows: 3 })
      const helper = await ctx.tools.call('helper.note', { n: 7 })
      const steal = await ctx.tools.call('helper.steal')
      const denied = await ctx.events.publish('other.type', {}).catch((error) => error.code)
      return { value: (await ctx.storage.get('a')).value, text: await ctx.files.read('out/report.txt'), event, helper, steal,
               denied, secrets: ctx.secrets, mine: Object.keys(ctx).sort() }
    }
    export const twice = (input) => input
  `
})
const skills = await r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, ['@acme/busy']))
const [busy] = skills as [PinnedSkill]
const sessionId = '01900000-0000-7000-8000-000000000001'
const call = (tool: string, more: Partial<ToolCall> = {}) =>
  r.tools.call({
    tenantId: acme.tenantId,
    sessionId,
    skill: busy,
    skills,
    tool,
    input: {},
    step: 's1',
    attempt: 1,
    effectKey: `${sessionId}/s1`,
    time: 1_700_000_000_000,
    seed: 'seed',
    signal: new AbortController().signal,
    ...more
  })

const first = await call('all')

t.test('each capability does what it was granted for', async (t) => {
  t.strictSame(first.output, {
    value: { b: 1, a: 2 },
    text: 'hello',
    event: 'custom.acme.busy.report.made',
    helper: { seen: ['log', 'progress', 'session', 'signal', 'storage'], version: 1 },
    steal: 'no fetch',
    denied: 'CAPABILITY_DENIED',
    secrets: ['API_TOKEN'],
    mine: ['events', 'files', 'log', 'progress', 'secrets', 'session', 'signal', 'storage', 'tools']
  })
  t.match(first.usage, { calls: 3, killed: false, tokens: 0 })
  t.ok(first.usage.hostCalls >= 9)
})

t.test('the effects are audited in the name of the skill, the refusal too', async (t) => {
  const rows = await r.db.tenant(
    acme.tenantId,
    (tx) => tx<{ action: string; id: string }[]>`
      select action, actor_id as id from audit.entry where actor_kind = 'skill' order by action, actor_id`
  )
  t.strictSame(
    rows.map(({ action, id }) => `${action} ${id}`),
    [
      'tool.called @acme/busy',
      'tool.called @acme/busy',
      'tool.denied @acme/busy',
      'tool.event_published @acme/busy',
      'tool.file_written @acme/busy',
      'tool.storage_written @acme/busy',
      'tool.storage_written @acme/helper'
    ]
  )
})

t.test('an attempt that is run again answers the same and does nothing again', async (t) => {
  const again = await call('all', { time: 1_800_000_000_000 })
  t.strictSame(again.output, first.output)
  t.strictSame(again.record.outcome, first.record.outcome)
  t.equal(again.record.time, 1_700_000_000_000)
  t.equal(again.record.hostDigest, first.record.hostDigest)
  const [count] = await r.db.tenant(
    acme.tenantId,
    (tx) => tx`select
      (select count(*)::int from tools.host_call) as journaled,
      (select count(*)::int from audit.entry where actor_kind = 'skill') as audited`
  )
  t.strictSame({ ...count }, { journaled: 9, audited: 7 })
})

t.test('the recording has every call, those of called tools too, and the code that they ran', async (t) => {
  const recording = await r.db.tenant(acme.tenantId, (tx) =>
    r.tools.recording(tx, acme.tenantId, sessionId, [first.record])
  )
  t.strictSame(recording.calls.map(({ skill, tool }) => `${skill}.${tool}`).sort(), [
    '@acme/busy.all',
    '@acme/helper.note',
    '@acme/helper.steal'
  ])
  t.strictSame(recording.skills.map(({ name }) => name).sort(), ['@acme/busy', '@acme/helper'])
  // As it reached the command that replays it.
  const calls: Call[] = JSON.parse(JSON.stringify(recording.calls))
  t.strictSame(calls.map(findChange), [null, null, null])
  const all = recording.calls.find(({ tool }) => tool === 'all')
  t.strictSame(
    all?.host.map(({ n, name }) => `${n} ${name}`),
    [
      '1 storage.set',
      '2 files.write',
      '3 events.publish',
      '4 tools.call',
      '5 tools.call',
      '6 events.publish',
      '7 storage.get',
      '8 files.read'
    ]
  )
})

t.test('another tenant sees nothing of it', async (t) => {
  const other = await r.makeTenant()
  const recording = await r.db.tenant(other.tenantId, (tx) => r.tools.recording(tx, other.tenantId, sessionId, []))
  t.strictSame(recording.calls, [])
  const error: ToolError = await call('all', { tenantId: other.tenantId, left: { hostCalls: 0 } }).then(
    () => t.fail('it ran'),
    (error) => error
  )
  t.equal(error.code, 'SANDBOX_HOST_CALLS')
})

t.test('agentos replay runs the recording again, to the byte: called tools and secrets too', async (t) => {
  const recording = await r.db.tenant(acme.tenantId, (tx) =>
    r.tools.recording(tx, acme.tenantId, sessionId, [first.record])
  )
  const sent = JSON.parse(JSON.stringify({ ...recording, complete: true }))
  t.equal(misfit(sent), null)
  const sandbox = openSandbox()
  t.teardown(() => sandbox.close())
  const verdicts: Verdict[] = []
  for await (const one of replay(sandbox, sent, { signal: new AbortController().signal })) verdicts.push(one)
  t.strictSame(
    verdicts.map(({ result, call, why }) => [result, call, why]),
    [
      ['identical', 's1#1', undefined],
      ['identical', 's1#1/4', undefined],
      ['identical', 's1#1/5', undefined]
    ]
  )
})
