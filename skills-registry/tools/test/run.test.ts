import t from 'tap'
import type { PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key

const object = (properties: object, required: string[] = []) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false
})
const tool = (input: object, output: object) => ({ description: 'd', input, output, effect: 'none' })
const tools = {
  add: tool(
    object({ a: { type: 'number' }, b: { type: 'number' } }, ['a', 'b']),
    object({ sum: { type: 'number' } }, ['sum'])
  ),
  lie: tool({}, object({ sum: { type: 'number' } }, ['sum'])),
  fail: tool({}, {}),
  spin: tool({}, {}),
  odd: tool({}, {}),
  look: tool({}, {}),
  missing: tool({}, {})
}
const code = `
  import { sum } from './sum.js'
  export async function add({ a, b }, ctx) {
    ctx.log.info('adding')
    await ctx.progress(0.5, 'half')
    return { sum: sum(a, b) }
  }
  export const lie = () => ({ sum: 'three' })
  export const fail = () => { throw new TypeError('not today') }
  export const spin = () => { for (;;); }
  export const odd = () => { throw new Error('half \\ud800 and \\u0000') }
  export const look = (input, ctx) => ({ keys: Object.keys(ctx).sort(), session: ctx.session, now: Date.now() })
`

async function installed(options: Draft) {
  const signed = signedSkill(options, { author })
  const made = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  return (await r.post(acme, '/v1/skills', { ref: `${options.name}@${options.version ?? '1.0.0'}` })).body
}
const resolve = (refs: Parameters<typeof r.tools.resolve>[1], tenantId = acme.tenantId) =>
  r.db.tenant(tenantId, (tx) => r.tools.resolve(tx, refs))

await installed({
  name: '@acme/math',
  manifest: { tools },
  code,
  extra: { 'dist/sum.js': 'export const sum = (a, b) => a + b\n' }
})
const [math] = (await resolve(['@acme/math@^1'])) as [PinnedSkill]
const call = (tool: string, input: unknown, more: Partial<ToolCall> = {}) =>
  r.tools.call({
    tenantId: acme.tenantId,
    sessionId: '01900000-0000-7000-8000-000000000001',
    skill: math,
    skills: [math],
    tool,
    input,
    step: 's1',
    attempt: 1,
    effectKey: 'session/s1',
    time: 1_700_000_000_000,
    seed: 'seed',
    signal: new AbortController().signal,
    ...more
  })

t.test('refs are resolved to the highest installed version of their range, and pinned by digest', async (t) => {
  for (const version of ['1.0.0', '1.4.0', '2.0.0']) await installed({ name: '@acme/versions', version })
  const [one, two] = await resolve(['@acme/versions@^1', { ref: '@acme/versions', as: 'newest' }])
  t.match(one, { alias: 'versions', name: '@acme/versions', version: '1.4.0', digest: /^sha256:/, verified: false })
  t.match(two, { alias: 'newest', version: '2.0.0', tools: { echo: { effect: 'none', limits: { cpuMs: 5000 } } } })
  t.strictSame(JSON.parse(JSON.stringify([one, two])), [one, two])
})

t.test('a ref that cannot be used is named with its place', async (t) => {
  await installed({
    name: '@acme/thinker',
    manifest: { permissions: { model: { tokens: 1000 } } }
  })
  const at = (index: number) => ({ details: { index, errors: [{ pointer: `/skills/${index}` }] } })
  await t.rejects(resolve(['@acme/math', '@acme/none']), { code: 'SKILLS_NOT_INSTALLED', ...at(1) })
  await t.rejects(resolve(['@acme/math@^7']), { code: 'SKILLS_NOT_INSTALLED', ...at(0) })
  await t.rejects(resolve(['@acme/math', 'math']), { code: 'SKILLS_REF_INVALID', ...at(1) })
  await t.rejects(resolve([{ ref: '@acme/math', as: 'a.b' }]), { code: 'SKILLS_REF_INVALID', ...at(0) })
  await t.rejects(resolve(['@acme/math', '@acme/versions', '@acme/math']), { code: 'SKILLS_ALIAS_CONFLICT', ...at(2) })
  await t.rejects(resolve(['@acme/thinker']), { code: 'SKILLS_CAPABILITY_UNAVAILABLE', ...at(0) })
  const other = await r.makeTenant()
  await t.rejects(resolve(['@acme/math'], other.tenantId), { code: 'SKILLS_NOT_INSTALLED' })
})

t.test('a tool runs in the sandbox, with its log and progress', async (t) => {
  const seen: unknown[] = []
  const result = await call(
    'add',
    { a: 1, b: 2 },
    { onLog: (line) => seen.push(line.message), onProgress: (...progress) => seen.push(progress) }
  )
  t.strictSame(result.output, { sum: 3 })
  t.type(result.cpuMs, 'number')
  t.type(result.generation, 'number')
  t.strictSame(seen, ['adding', [0.5, 'half']])
})

t.test('a skill sees its session, the recorded time, and nothing that it was not granted', async (t) => {
  const { output } = await call('look', {})
  t.match(output, {
    session: { tenantId: acme.tenantId, step: 's1', attempt: 1, effectKey: 'session/s1' },
    now: 1_700_000_000_000
  })
  const known = ['log', 'progress', 'session', 'signal']
  t.strictSame(
    (output as { keys: string[] }).keys.filter((key) => !known.includes(key)),
    []
  )
})

t.test('input and output are held to their schemas, and the place is said', async (t) => {
  const input = { code: 'TOOL_INPUT_INVALID', retryable: false }
  await t.rejects(call('add', { a: 1, b: 'x' }), { ...input, details: { pointer: '/b' } })
  await t.rejects(call('add', { a: 1 }), input)
  await t.rejects(call('lie', {}), { code: 'TOOL_OUTPUT_INVALID', retryable: false, details: { pointer: '/sum' } })
  await t.rejects(call('nothing', {}), { code: 'TOOL_UNKNOWN', retryable: false })
  await t.rejects(call('toString', {}), { code: 'TOOL_UNKNOWN' })
  t.throws(() => r.tools.check(math, 'add', { a: 1, b: 'x' }), { ...input, details: { pointer: '/b' } })
  t.throws(() => r.tools.check(math, 'toString', {}), { code: 'TOOL_UNKNOWN' })
  t.doesNotThrow(() => r.tools.check(math, 'add', { a: 1, b: 2 }))
})

t.test('what goes wrong in a skill is told with its code', async (t) => {
  await t.rejects(call('fail', {}), { code: 'SKILL_ERROR', message: /not today/ })
  const odd = await call('odd', {}).catch((error) => error)
  t.match(odd, { code: 'SKILL_ERROR', record: { outcome: { message: 'half \ufffd and \ufffd' } } })
  await t.rejects(call('missing', {}), { name: 'ToolError', retryable: false })
  await t.rejects(call('spin', {}, { timeoutMs: 300, sessionId: '01900000-0000-7000-8000-000000000002' }), {
    code: 'SANDBOX_TIMEOUT'
  })
  t.strictSame((await call('add', { a: 2, b: 2 })).output, { sum: 4 })
})

t.test('a session goes on with the digest that it pinned after an uninstall', async (t) => {
  const { id } = await installed({ name: '@acme/pinned' })
  const [pinned] = (await resolve(['@acme/pinned'])) as [PinnedSkill]
  const removed = await r.app.inject({ method: 'DELETE', url: `/v1/skills/${id}`, headers: acme.headers })
  t.equal(removed.statusCode, 204)
  await t.rejects(resolve(['@acme/pinned']), { code: 'SKILLS_NOT_INSTALLED' })
  t.strictSame((await call('echo', { x: [1] }, { skill: pinned })).output, { x: [1] })
  r.tools.endSession(acme.tenantId, '01900000-0000-7000-8000-000000000001')
  t.strictSame((await call('echo', { x: [2] }, { skill: pinned })).output, { x: [2] })
})

t.test('a pinned digest whose bytes are gone fails the call, and may be tried again', async (t) => {
  const skill = { ...math, digest: `sha256:${'0'.repeat(64)}` }
  await t.rejects(call('add', { a: 1, b: 2 }, { skill }), {
    code: 'TOOL_PACKAGE_UNAVAILABLE',
    retryable: true,
    details: { reason: 'OBJECTS_NOT_FOUND' }
  })
})

t.test('readiness tells which walls the sandbox has on this machine', async (t) => {
  const { statusCode, body } = await r.app.inject({ method: 'GET', url: '/readyz?verbose' })
  t.equal(statusCode, 200)
  t.match(JSON.parse(body).checks.sandbox, { status: 'ok', detail: { missing: Array } })
})
