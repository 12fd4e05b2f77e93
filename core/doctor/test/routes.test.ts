import t from 'tap'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'

t.test('an operator sees the groups and runs one; nobody else does', async (t) => {
  const { app, makeTenant } = await testApp(t)
  app.doctor.add('shop', {
    name: 'door',
    title: 'the door is shut',
    run: () => ({ ok: false, detail: 'open', fix: 'shut it' })
  })
  const { headers } = await makeTenant({ id: TENANT_ZERO, scopes: ['platform:doctor'] })
  const groups = await app.inject({ url: '/v1/platform/doctor', headers })
  t.match(groups.json().data.at(-1), { group: 'shop', checks: ['door'] })
  const report = await app.inject({ url: '/v1/platform/doctor/shop', headers })
  t.equal(report.statusCode, 200)
  t.match(report.json(), {
    group: 'shop',
    ok: false,
    checks: [{ name: 'door', ok: false, detail: 'open', fix: 'shut it' }]
  })
  t.match((await app.inject({ url: '/v1/platform/doctor/hotel', headers })).json(), { code: 'RESOURCE_NOT_FOUND' })

  const other = await makeTenant({ scopes: ['*', 'platform:doctor'] })
  const refused = await app.inject({ url: '/v1/platform/doctor/shop', headers: other.headers })
  t.equal(refused.statusCode, 403)
})
