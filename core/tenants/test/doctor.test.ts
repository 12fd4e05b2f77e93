import t from 'tap'
import type { Line } from '#core/doctor/doctor.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'

t.test('each line turns red when what it promises is broken, and green again', async (t) => {
  const { app, makeTenant, sql } = await pulseApp(t, hostTools({}), { start: false })
  const { tenantId } = await makeTenant()
  const line = async (name: string): Promise<Line> => {
    const report = must(await app.doctor.run('tenancy'), 'the group tenancy')
    return must(
      report.checks.find((check) => check.name === name),
      name
    )
  }
  const names = ['tenants.erased-in-time', 'tenants.suspended-still', 'tenants.owned']
  for (const name of names) t.match(await line(name), { ok: true }, name)

  await sql`
    update core.tenants set suspended_at = now() - interval '1 day', suspended_by = 'deletion', erase_by = 'owner',
      erase_at = now() - interval '1 hour' where tenant_id = ${tenantId}`
  t.match(await line('tenants.erased-in-time'), { ok: true }, 'the next sweep will do it')
  await sql`update core.tenants set erase_at = now() - interval '4 hours' where tenant_id = ${tenantId}`
  t.match(await line('tenants.erased-in-time'), {
    ok: false,
    detail: `overdue: 1 (${tenantId})`,
    fix: /could not be erased/
  })

  await sql`
    insert into pulse.session (tenant_id, id, config, pinned, state, context, lease_owner, lease_until)
    values (${tenantId}, ${newId()}, '{}', '{}', 'RUNNING', '{}', ${newId()}, now() + interval '6 s')`
  t.match(await line('tenants.suspended-still'), { ok: false, detail: `running: 1 (${tenantId})` })
  await sql`update pulse.session set lease_until = '-infinity'`
  t.match(await line('tenants.suspended-still'), { ok: true, detail: '1 tenants are suspended' }, 'handed back')

  await sql`update core.tenants set erase_at = null, erase_by = null where tenant_id = ${tenantId}`
  await sql`update core.api_key set revoked_at = now() where tenant_id = ${tenantId}`
  t.match(await line('tenants.owned'), { ok: false, detail: `without: 1 (${tenantId})` })
  await sql`insert into core.member (tenant_id, user_id, role) values (${tenantId}, ${newId()}, 'owner')`
  t.match(await line('tenants.owned'), { ok: true })
})
