import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'

t.test('an actor whose outcome can never be written ends with a reason instead of running for ever', async (t) => {
  const tools = hostTools({ noop: { run: () => ({}) } })
  const app = await pulseApp(t, tools)
  const tenant = await app.makeTenant()
  // The database itself refuses the outcome, as it would one that slipped through every check of ours.
  await app.sql`alter table core.journal add constraint refused check (record ->> 'status' <> 'done') not valid`
  const { body } = await app.create(tenant, { steps: [{ id: 'a', kind: 'tool', tool: 'host.noop' }] })
  await until(async () => {
    // Between two tries lies a lease; the test lets it run out at once.
    if (app.kernel.actors.activations().session === 0) {
      await app.sql`update pulse.session set lease_until = now() - interval '1 s' where id = ${body.id} and breaks > 0`
      app.kernel.actors.hint('session')
    }
    const [row] = await app.sql`select state from pulse.session where id = ${body.id}`
    return row?.state === 'FAILED'
  }, 'the session was given up')
  const session = await app.reaches(tenant, body.id, 'FAILED')
  t.match(session.error, { code: 'PULSE_INTERNAL', message: /could not be recorded/ })
  t.equal(session.transitions.at(-1).cause, 'recovery')
  t.ok(tools.calls.length >= 5, 'it was tried again before that')
  const [slot] = await app.sql`select running, queued from core.slot where tenant_id = ${tenant.tenantId}`
  t.strictSame({ ...slot }, { running: 0, queued: 0 })
})
