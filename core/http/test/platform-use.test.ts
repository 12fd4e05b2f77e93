import t from 'tap'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'

t.test("who looks with a permission of the platform stands in Tenant Zero's log", async (t) => {
  const { app, makeTenant, sql } = await testApp(t)
  const { headers } = await makeTenant({ id: TENANT_ZERO, slug: 'zero', scopes: ['*', 'platform:*'] })
  const looked = async () => {
    const rows = await sql`
      select actor_kind as kind, from_address as "from", subject, details from audit.entry
      where tenant_id = ${TENANT_ZERO} and action = 'platform.viewed' order by id`
    return rows.map((row) => ({ ...row }))
  }
  const paths = {
    '/v1/platform/doctor': 'platform:doctor',
    '/v1/platform/operators': 'platform:operators',
    '/v1/platform/vault/rotation': 'platform:vault',
    '/v1/platform/rooms': 'platform:rooms',
    '/v1/system/rooms': 'platform:rooms'
  }
  for (const url of Object.keys(paths)) t.equal((await app.inject({ url: `${url}?`, headers })).statusCode, 200, url)
  const expected = Object.entries(paths).map(([path, subject]) => {
    return { kind: 'operator', from: '127.0.0.1', subject, details: { path } }
  })
  t.strictSame(await looked(), expected)

  const stranger = await makeTenant({ scopes: ['*', 'platform:*'] })
  t.equal((await app.inject({ url: '/v1/platform/doctor', headers: stranger.headers })).statusCode, 403)
  await app.inject({ url: '/v1/platform/tenants', headers })
  t.equal((await looked()).length, expected.length, 'what was refused was not seen; tenants are noted where they are')
})
