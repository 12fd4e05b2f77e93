import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { resumeTenant, suspendTenant } from '#core/tenants/lifecycle.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'
import { wsClient } from '#test/support/ws-client.ts'

const step = (id: string) => ({ id, kind: 'tool', tool: 'host.block' })

t.test('suspension stops sessions and sockets within 5 s; resumed, they go on where they were', async (t) => {
  const open: { step: string; tenantId: string; answer(): void; signal: AbortSignal }[] = []
  const tools = hostTools({
    block: {
      run: (_input, call) =>
        new Promise((resolve, reject) => {
          const { step, signal, tenantId } = call
          open.push({ step, tenantId, signal, answer: () => resolve({}) })
          signal.addEventListener('abort', () => reject(new Error('cut off')), { once: true })
        })
    }
  })
  const app = await pulseApp(t, tools)
  const { db, sql } = app
  const [tenant, other] = [await app.makeTenant({ plan: 'free' }), await app.makeTenant({ plan: 'free' })]
  const started: string[] = []
  for (let n = 0; n < 3; n += 1) {
    const { body } = await app.create(tenant, { steps: [step('a'), step('b')] })
    started.push(body.id)
  }
  await until(() => open.length === 2, 'two run, as the plan says, and one waits')
  const socket = await wsClient(await app.app.listen({ port: 0, host: '127.0.0.1' }))
  t.match(await socket.request('hello', { protocol: 1, token: tenant.key }), { result: {} })

  const from = systemClock.monotonic()
  await db.system((tx) => suspendTenant(tx, tenant.tenantId, 'unpaid'))
  await until(() => open.every(({ signal }) => signal.aborted), 'what ran was cut off')
  await until(() => app.kernel.actors.activations().session === 0, 'and handed back')
  t.equal(await socket.closed, 4403)
  t.ok(systemClock.monotonic() - from < 5000, `${systemClock.monotonic() - from} ms`)
  const rows = () => sql`
    select state, lease_until::text as lease from pulse.session where tenant_id = ${tenant.tenantId} order by id`
  const held = [
    { state: 'RUNNING', lease: '-infinity' },
    { state: 'RUNNING', lease: '-infinity' },
    { state: 'QUEUED', lease: null }
  ]
  t.strictSame(
    [...(await rows())].map((row) => ({ ...row })),
    held
  )

  // Another tenant's session runs through meanwhile: hosts claim, but nothing of the suspended one.
  open.splice(0)
  const theirs = await app.create(other, { steps: [step('a')] })
  await until(() => open.length > 0, 'the other runs')
  open.shift()?.answer()
  await app.reaches(other, theirs.body.id, 'COMPLETE')
  t.strictSame(
    [...(await rows())].map((row) => ({ ...row })),
    held
  )
  t.equal(open.length, 0)

  await db.system((tx) => resumeTenant(tx, tenant.tenantId))
  app.auth.forgetTenant(tenant.tenantId)
  const answering = systemClock.every(20, () => {
    for (const call of open.splice(0)) call.answer()
  })
  t.teardown(() => answering.cancel())
  for (const id of started) t.match(await app.reaches(tenant, id, 'COMPLETE', 'FAILED'), { state: 'COMPLETE' })
  const repeated = tools.calls.filter((call) => call.step === 'a' && call.tenantId === tenant.tenantId)
  t.equal(new Set(repeated.map((call) => call.effectKey)).size, 3, 'a repeated step has the key of its first try')
})
