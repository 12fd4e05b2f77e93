import t, { type Test } from 'tap'
import { createBus } from '#core/bus/index.ts'
import type { Tx } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import { definePlugin } from '#core/plugin.ts'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { SandboxError } from '#sandbox/index.ts'
import { ToolQuarantined, ToolQuarantineLifted } from '#skills-registry/tools/events.ts'
import { crashReason } from '#skills-registry/tools/quarantine/crash.ts'
import { Quarantine, refuseQuarantined } from '#skills-registry/tools/quarantine/quarantine.ts'
import { quarantinePermissions, quarantineRoutes } from '#skills-registry/tools/quarantine/routes.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

/** One host's quarantine as a room of its own: no sandbox, no skills. */
const clock = new FakeClock()
let here: Quarantine | undefined
const room = definePlugin({
  name: 'tools',
  needs: ['db', 'bus'],
  emits: [ToolQuarantined, ToolQuarantineLifted],
  permissions: { 'skills:read': 'See skills.', ...quarantinePermissions },
  tables: ['tools.host_call', 'tools.crash', 'tools.quarantine'],
  migrations: new URL('../sql/', import.meta.url),
  register(app) {
    here = new Quarantine({ db: app.db, bus: app.bus, clock, log: app.log })
    quarantineRoutes(app, here)
  }
})

const server = await testApp(t, { rooms: [{ room }], parts: ({ db }) => ({ bus: createBus({ db }) }) })
const { app, db, sql } = server
const elsewhere = new Quarantine({ db, bus: app.bus, clock, log: app.log })
const zero = await server.makeTenant({ id: TENANT_ZERO, slug: 'zero', scopes: ['*', 'platform:*'] })
if (!here) throw new Error('the room did not register')
const host = here

const killed = new SandboxError('SANDBOX_KILLED', 'killed', { details: { reason: 'cpuMs', hostCalls: 0 } })
let counter = 0
const skillOf = (version = '1.0.0'): PinnedSkill => ({
  alias: 'csv',
  skillId: newId(),
  name: '@acme/csv',
  version,
  digest: `sha256:${String(++counter).padStart(64, '0')}`,
  verified: false,
  grant: {},
  tools: {}
})
const refused = async (quarantine: Quarantine, tenantId: string, skill: PinnedSkill) => {
  try {
    await quarantine.check({ tenantId }, skill)
    return 'runs'
  } catch (error) {
    return error as Error & { code: string; retryable: boolean; details: object }
  }
}
const ask = async (method: 'GET' | 'POST', url: string, who: { headers: object }, payload?: object) => {
  const headers = { ...who.headers }
  const answer = await app.inject({ method, url, headers, ...(payload ? { payload } : {}) })
  return { status: answer.statusCode, body: answer.json() }
}
async function scene() {
  const tenant = await server.makeTenant()
  const { tenantId } = tenant
  const context = { tenantId, actor: { kind: 'skill' as const, id: '@acme/csv' } }
  const crash = (quarantine: Quarantine, skill: PinnedSkill, error = killed) =>
    quarantine.crashed(context, { skill, sessionId: newId(), step: 'parse', error })
  return { tenant, tenantId, crash }
}
const events = (tenantId: string) => sql<{ type: string; data: Record<string, unknown> }[]>`
  select type, data from core.event where tenant_id = ${tenantId} and type like 'tool.%' order by id`

t.test('a crash is a call that is blamed for the death of its cell, and nothing else', async (t) => {
  const of = (code: SandboxError['code'], details: Record<string, unknown>, retryable = false) =>
    crashReason(new SandboxError(code, 'x', { details, retryable }))
  for (const reason of ['cpuMs', 'wallMs', 'crash', 'flood', 'protocol', 'stuck'])
    t.equal(of('SANDBOX_KILLED', { reason, signal: 'SIGKILL' }), reason)
  t.equal(of('SANDBOX_MEMORY', { reason: 'memory', signal: 'SIGKILL' }), 'memory')

  t.equal(of('SANDBOX_KILLED', { reason: 'cpuMs' }, true), undefined, 'an innocent in the cell of another')
  t.equal(of('SANDBOX_KILLED', { reason: 'crash', signal: 'SIGKILL' }, true), undefined, 'the system was out of memory')
  t.equal(of('SANDBOX_KILLED', { reason: 'start' }), undefined, 'no cell began')
  t.equal(of('SANDBOX_KILLED', { reason: 'diverged' }), undefined)
  t.equal(of('SANDBOX_MEMORY', { limit: 'memoryMb' }), undefined, 'the isolate was disposed of, the cell lives')
  t.equal(of('SANDBOX_TIMEOUT', { limit: 'cpuMs' }), undefined)
  t.equal(of('SKILL_ERROR', { reason: 'crash' }), undefined, 'an error that says so of itself')
})

t.test(
  'three crashes in ten minutes stop a version on every host, with an event, an audit row and a reason',
  async (t) => {
    const { tenantId, crash } = await scene()
    const stranger = await server.makeTenant()
    const skill = skillOf()
    t.equal(await refused(elsewhere, tenantId, skill), 'runs')
    await crash(host, skill)
    await crash(elsewhere, skill)
    for (const error of [
      new SandboxError('SKILL_ERROR', 'its own'),
      new SandboxError('SANDBOX_KILLED', 'an innocent', { retryable: true, details: { reason: 'cpuMs' } })
    ])
      await crash(host, skill, error)
    t.equal(await refused(host, tenantId, skill), 'runs', 'two are not three')
    await crash(host, skill)

    const error = await refused(host, tenantId, skill)
    t.match(error, { code: 'TOOL_QUARANTINED', retryable: false, details: { version: '1.0.0', digest: skill.digest } })
    const message = (error as Error).message
    t.match(message, /^@acme\/csv 1\.0\.0 is stopped for this tenant: 3 calls within 10 minutes/)
    t.equal(message.match(/SANDBOX_KILLED \(cpuMs\) in step parse of session [0-9a-f-]{36}/g)?.length, 3)
    t.match(message, /\d{4}-\d\d-\d\dT[\d:.]+Z SANDBOX_KILLED/)
    t.match(message, /publish a new version .*ask the operator/)

    t.equal(await refused(host, stranger.tenantId, skill), 'runs', 'the same bytes of another tenant')
    t.equal(await refused(host, tenantId, skillOf('1.0.1')), 'runs', 'a new version')
    await crash(host, skill)
    t.match(await events(tenantId), { length: 1 }, 'a fourth crash, of a call that ran already, opens nothing more')
    t.match((await events(tenantId))[0], {
      type: 'tool.quarantined',
      data: { skillId: skill.skillId, skill: '@acme/csv', crashes: { length: 3 }, explanation: message }
    })
    const rows =
      await sql`select action, subject, details, actor_kind as kind from audit.entry where tenant_id = ${tenantId}
    and action like 'tool.%'`
    t.match(
      [...rows],
      [{ action: 'tool.quarantined', subject: `skill:${skill.skillId}`, kind: 'skill', details: { crashes: 3 } }]
    )
  }
)

t.test('another host asks the database once in five seconds about a version', async (t) => {
  const { tenantId, crash } = await scene()
  const skill = skillOf()
  t.equal(await refused(elsewhere, tenantId, skill), 'runs')
  for (let i = 0; i < 3; i++) await crash(host, skill)
  t.match(await refused(host, tenantId, skill), { code: 'TOOL_QUARANTINED' }, 'at once where it crashed')
  await clock.advance(4900)
  t.equal(await refused(elsewhere, tenantId, skill), 'runs', 'what it knows is not older than 5 s')
  await clock.advance(100)
  t.match(await refused(elsewhere, tenantId, skill), { code: 'TOOL_QUARANTINED' })
})

t.test('crashes that are older than ten minutes do not count, and go after a day', async (t) => {
  const { tenantId, crash } = await scene()
  const skill = skillOf()
  await crash(host, skill)
  await crash(host, skill)
  await sql`update tools.crash set at = at - interval '10 minutes' where tenant_id = ${tenantId}`
  await crash(host, skill)
  await crash(host, skill)
  t.equal(await refused(host, tenantId, skill), 'runs')
  await sql`update tools.crash set at = at - interval '1 day' where tenant_id = ${tenantId}`
  await crash(host, skillOf())
  const [left] = await sql`select count(*)::int as n from tools.crash where tenant_id = ${tenantId}`
  t.equal(left?.n, 1)
})

t.test('of crashes at one moment on many hosts none is overlooked', async (t) => {
  const { tenantId, crash } = await scene()
  const skill = skillOf()
  await Promise.all([host, elsewhere, host].map((one) => crash(one, skill)))
  t.match(await refused(host, tenantId, skill), { code: 'TOOL_QUARANTINED' })
  t.match(await events(tenantId), { length: 1 })
})

t.test('no new session takes a version that stands still', async (t) => {
  const { tenantId, crash } = await scene()
  const skill = skillOf()
  for (let i = 0; i < 3; i++) await crash(host, skill)
  const resolve = (pinned: PinnedSkill[]) => db.tenant(tenantId, (tx: Tx) => refuseQuarantined(tx, pinned))
  await t.rejects(resolve([skillOf(), skill]), {
    code: 'SKILLS_QUARANTINED',
    status: 422,
    details: { version: '1.0.0', errors: [{ pointer: '/skills/1' }] }
  })
  await t.rejects(resolve([{ ...skill, hidden: true }]), {
    code: 'SKILLS_QUARANTINED',
    details: { errors: [{ pointer: '/skills' }] }
  })
  await t.resolves(resolve([skillOf('1.0.1')]))
  await t.resolves(resolve([]))
})

t.test('the operator lifts it with a reason, and its crashes count anew', async (t) => {
  const { tenant, tenantId, crash } = await scene()
  const [skill, older] = [skillOf(), skillOf('0.9.0')]
  for (const one of [older, skill]) for (let i = 0; i < 3; i++) await crash(host, one)

  const mine = await ask('GET', '/v1/skills/quarantines', tenant)
  t.match(mine.body.data, [
    { state: 'open', version: '1.0.0', digest: skill.digest, explanation: /is stopped/, crashes: { length: 3 } },
    { state: 'open', version: '0.9.0' }
  ])
  const [{ id }] = mine.body.data
  const lift = `/v1/platform/quarantines/${id}/lift`
  t.equal((await ask('POST', lift, tenant, { reason: 'mine' })).status, 403, 'no tenant lifts its own')
  t.equal((await ask('POST', lift, zero, {})).status, 400)
  t.equal((await ask('POST', lift, zero, { reason: '  ' })).status, 400)
  const lifted = await ask('POST', lift, zero, { reason: 'the author was told' })
  t.match(lifted, { status: 200, body: { id, tenantId, state: 'lifted', liftReason: 'the author was told' } })
  t.match(lifted.body, { liftedBy: /^key:/, reasons: ['cpuMs', 'cpuMs', 'cpuMs'] })
  t.notMatch(JSON.stringify(lifted.body), /session|step/, "nothing of the tenant's sessions")
  t.equal(await refused(host, tenantId, skill), 'runs')
  t.match(await refused(host, tenantId, older), { code: 'TOOL_QUARANTINED' })

  t.match(await ask('POST', lift, zero, { reason: 'again' }), {
    status: 409,
    body: { code: 'SKILLS_QUARANTINE_LIFTED' }
  })
  const nowhere = `/v1/platform/quarantines/${newId()}/lift`
  t.match(await ask('POST', nowhere, zero, { reason: 'x' }), { status: 404 })
  t.match((await events(tenantId)).at(-1), {
    type: 'tool.quarantine_lifted',
    data: { quarantineId: id, reason: 'the author was told' }
  })
  t.match((await ask('GET', '/v1/skills/quarantines', tenant)).body.data, [
    { state: 'open', version: '0.9.0' },
    { state: 'lifted', version: '1.0.0', liftReason: 'the author was told' }
  ])

  await crash(host, skill)
  await crash(host, skill)
  t.equal(await refused(host, tenantId, skill), 'runs', 'those before the lift are forgiven')
  await crash(host, skill)
  t.match(await refused(host, tenantId, skill), { code: 'TOOL_QUARANTINED' })

  const page = async (cursor?: string) =>
    (await ask('GET', `/v1/platform/quarantines?tenant=${tenantId}&limit=1${cursor ? `&cursor=${cursor}` : ''}`, zero))
      .body
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const { data, nextCursor } = await page(cursor)
    seen.push(...data.map((one: { state: string; version: string }) => `${one.state} ${one.version}`))
    cursor = nextCursor
  } while (cursor)
  t.strictSame(seen, ['open 1.0.0', 'open 0.9.0', 'lifted 1.0.0'])
  await audited(t, tenantId)
})

async function audited(t: Test, tenantId: string) {
  const rows = await sql`
    select action, details, actor_kind as kind from audit.entry where tenant_id = ${tenantId} and actor_kind = 'operator'`
  t.match(
    [...rows],
    [
      { action: 'quarantine.lifted', details: { skill: '@acme/csv', reason: 'the author was told' } },
      { action: 'quarantines.listed' },
      { action: 'quarantines.listed' },
      { action: 'quarantines.listed' }
    ]
  )
  await ask('GET', '/v1/platform/quarantines', zero)
  const [own] = await sql`
    select count(*)::int as n from audit.entry where tenant_id = ${TENANT_ZERO} and action = 'quarantines.listed'`
  t.equal(own?.n, 1, 'who looks at everybody is noted in Tenant Zero')
  t.equal((await ask('GET', `/v1/platform/quarantines?tenant=${newId()}`, zero)).status, 404)
}

t.test('a crash that cannot be noted is logged, and the call keeps its own error', async (t) => {
  const skill = skillOf()
  await t.resolves(host.crashed({ tenantId: 'nobody' }, { skill, sessionId: newId(), step: 's', error: killed }))
  t.ok(server.lines.some((line) => line.includes('a crash of a skill could not be noted')))
})
