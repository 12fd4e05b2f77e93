import t from 'tap'
import { TenantPlanChanged } from '#core/tenants/events.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'

t.test('another plan holds for a tenant that has run sessions already, and for what waits', async (t) => {
  const open: (() => void)[] = []
  const tools = hostTools({ block: { run: () => new Promise((resolve) => open.push(() => resolve({}))) } })
  const app = await pulseApp(t, tools)
  const { db, sql, kernel } = app
  const tenant = await app.makeTenant({ plan: 'free' })
  const config = { steps: [{ id: 'a', kind: 'tool', tool: 'host.block' }] }
  for (let n = 0; n < 3; n += 1) await app.create(tenant, config)
  await until(() => open.length === 2, 'two run, as the plan says')
  const slot = async () => ({ ...(await sql`select max, running, queued, queue_max from core.slot`)[0] })
  t.strictSame(await slot(), { max: 2, running: 2, queued: 1, queue_max: 100 })
  const { tenantId } = tenant
  await db.system(async (tx) => {
    await tx`update core.tenants set plan = 'pro' where tenant_id = ${tenantId}`
    const data = { from: 'free', to: 'pro' }
    await kernel.bus.emitAll(tx, [{ type: TenantPlanChanged, subjectId: tenantId, data, tenantId }])
  })
  await until(() => open.length === 3, 'the third starts')
  t.strictSame(await slot(), { max: 20, running: 3, queued: 0, queue_max: 1000 })
  for (const answer of open) answer()
})
