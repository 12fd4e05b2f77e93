import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { newId } from '#core/ids.ts'
import { locate, TENANT_ZERO } from '#core/tenants/tenants.ts'
import { teamApp } from './support.ts'

const url = (id: string, what = '') => `/v1/platform/tenants/${id}${what}`

t.test(
  'a tenant is provisioned with a key or an invited owner, changed, and each use stands in its own log',
  async (t) => {
    const { ask, operator, actions, sql, db, user, makeTenant } = await teamApp(t)
    const wanted = { name: 'Acme', slug: 'acme', plan: 'pro', cell: 'c2', region: 'eu' }
    const made = await ask('POST', '/v1/platform/tenants', operator, wanted)
    t.match(made, { status: 201, body: { slug: 'acme', state: 'active', members: 0, running: 0 } })
    const { id, key } = made.body
    const owner = { headers: { authorization: `Bearer ${key}` } }
    t.match(await ask('GET', '/v1/tenant', owner), { status: 200, body: { id, plan: 'pro', cell: 'c2' } })
    t.strictSame({ ...(await db.system((tx) => locate(tx, id))) }, { cell: 'c2', region: 'eu' })
    t.equal(await db.system((tx) => locate(tx, newId())), null)

    const keyed = { headers: { ...operator.headers, 'idempotency-key': 'one' } }
    const once = { ...wanted, slug: 'once' }
    t.equal((await ask('POST', '/v1/platform/tenants', keyed, once)).status, 201)
    const repeated = await ask('POST', '/v1/platform/tenants', keyed, once)
    t.match(repeated, { status: 409, body: { code: 'IDEMPOTENCY_SHOWN_ONCE' } }, 'the key is not shown again')
    t.match(await ask('POST', '/v1/platform/tenants', keyed, wanted), { status: 422 })
    await sql`delete from core.api_key where tenant_id = (select tenant_id from core.tenants where slug = 'once')`
    await sql`delete from core.tenants where slug = 'once'`

    t.match(await ask('POST', '/v1/platform/tenants', operator, wanted), {
      status: 409,
      body: { code: 'TENANT_SLUG_TAKEN' }
    })
    const unknown = await ask('POST', '/v1/platform/tenants', operator, { ...wanted, slug: 'b', plan: 'gold' })
    t.match(unknown, { status: 400, body: { errors: [{ pointer: '/plan', detail: /free, pro, enterprise/ }] } })
    const second = await ask('POST', '/v1/platform/tenants', operator, {
      ...wanted,
      slug: 'b',
      ownerEmail: 'o@example.com'
    })
    t.match(second.body, { invitation: { role: 'owner', email: 'o@example.com' } })
    t.equal(second.body.key, undefined)
    const password = 'a very long password'
    const { token } = second.body.invitation
    t.match(await ask('POST', '/v1/invitations/accept', null, { token, password }), {
      status: 200,
      body: { role: 'owner' }
    })

    t.match(await ask('GET', url(id), operator), { status: 200, body: { slug: 'acme' } })
    const change = { plan: 'enterprise', agentLimit: 7, cell: 'c3' }
    t.match(await ask('PATCH', url(id), operator, change), { status: 200, body: { ...change, region: 'eu' } })
    t.equal((await ask('PATCH', url(id), operator, {})).status, 400)
    t.equal((await ask('GET', url(newId()), operator)).status, 404)
    t.strictSame(await actions(id), ['tenant.provisioned', 'key.created', 'tenant.viewed', 'tenant.changed'])
    const kinds = await sql`select distinct actor_kind as kind from audit.entry where tenant_id = ${id}`
    t.strictSame(
      kinds.map((row) => row.kind),
      ['operator']
    )

    const list = await ask('GET', '/v1/platform/tenants?limit=2', operator)
    t.strictSame(
      list.body.data.map((one: { slug: string }) => one.slug),
      ['b', 'acme']
    )
    t.notOk('settings' in list.body.data[0], 'nothing that the tenant wrote')
    const rest = await ask('GET', `/v1/platform/tenants?limit=2&cursor=${list.body.nextCursor}`, operator)
    t.match(rest.body, { data: [{ slug: 'zero' }], nextCursor: null })
    t.match((await ask('GET', '/v1/platform/tenants?slug=acme&state=active', operator)).body.data, [{ id }])
    t.ok((await actions(TENANT_ZERO)).includes('tenants.listed'))

    // `*` is not the platform, neither elsewhere nor in Tenant Zero; and elsewhere not even its name is.
    const other = await makeTenant({ scopes: ['*', 'platform:*'] })
    const admin = await user('ada', TENANT_ZERO, 'admin')
    for (const who of [owner, other, admin]) {
      t.match(await ask('GET', '/v1/platform/tenants', who), { status: 403, body: { code: 'AUTH_PERMISSION_MISSING' } })
    }
  }
)

t.test('suspended is 403 with the reason, resumed goes on; Tenant Zero stays', async (t) => {
  const { ask, operator, makeTenant, actions, sql } = await teamApp(t)
  const { tenantId, headers } = await makeTenant()
  const who = { headers }
  t.match(await ask('POST', url(tenantId, '/suspend'), operator, { reason: ' unpaid since May ' }), {
    status: 200,
    body: { state: 'suspended', suspendedReason: 'unpaid since May' }
  })
  for (const path of ['/v1/tenant', '/v1/members', '/v1/whoami']) {
    t.match(await ask('GET', path, who), {
      status: 403,
      body: { code: 'TENANT_SUSPENDED', reason: 'unpaid since May' }
    })
  }
  t.match(await ask('POST', '/v1/tenant/restore', who), { status: 403 }, 'what the platform did, it undoes')
  t.match((await ask('GET', '/v1/platform/tenants?state=suspended', operator)).body.data, [{ id: tenantId }])
  t.match(await ask('POST', url(tenantId, '/resume'), operator), { status: 200, body: { state: 'active' } })
  t.match(
    await ask('POST', url(tenantId, '/resume'), operator),
    { status: 200, body: { state: 'active' } },
    'twice is once'
  )
  t.equal((await ask('GET', '/v1/tenant', who)).status, 200)
  t.strictSame(await actions(tenantId), ['tenant.suspended', 'tenant.resumed', 'tenant.resumed'])
  const zero = [
    await ask('POST', url(TENANT_ZERO, '/suspend'), operator, { reason: 'x' }),
    await ask('DELETE', url(TENANT_ZERO), operator, { graceDays: 0, confirm: 'zero' }),
    await ask('DELETE', '/v1/tenant', operator, { confirm: 'zero' })
  ]
  for (const answer of zero) t.match(answer, { status: 409, body: { code: 'TENANT_ZERO_STAYS' } })
  await t.rejects(
    sql`update core.tenants set suspended_at = now(), suspended_by = 'platform' where tenant_id = ${TENANT_ZERO}`,
    {
      code: '23514'
    }
  )
})

t.test('a deletion is undone by whom it is up to, within its grace time', async (t) => {
  const { ask, operator, makeTenant, makeKey, sql, user } = await teamApp(t)
  const { tenantId, slug, headers } = await makeTenant()
  const who = { headers }
  const admin = await user('ada', tenantId, 'admin')
  t.match(await ask('DELETE', '/v1/tenant', admin, { confirm: slug }), { status: 403 })
  t.match(await ask('DELETE', '/v1/tenant', who, { confirm: 'other' }), {
    status: 409,
    body: { code: 'TENANT_UNCONFIRMED' }
  })
  const deleted = await ask('DELETE', '/v1/tenant', who, { confirm: slug })
  t.equal(deleted.status, 202)
  const days = (Date.parse(deleted.body.eraseAt) - systemClock.now()) / 86_400_000
  t.ok(days > 29.9 && days <= 30, `${days} days`)
  t.match(await ask('GET', '/v1/members', who), { status: 403, body: { code: 'TENANT_SUSPENDED' } })
  t.match(await ask('GET', '/v1/tenant', who), { status: 200, body: { eraseAt: deleted.body.eraseAt } })
  t.match(await ask('POST', '/v1/tenant/restore', { headers: await makeKey(tenantId, ['tenant:write']) }), {
    status: 403
  })
  t.match(await ask('POST', '/v1/tenant/restore', who), { status: 200, body: { eraseAt: null } })
  t.equal((await ask('GET', '/v1/members', who)).status, 200)
  t.match(await ask('POST', '/v1/tenant/restore', who), { status: 409, body: { code: 'TENANT_NOT_DELETED' } })

  // The platform's deletion is the platform's to undo, and a suspension outlives it.
  await ask('POST', url(tenantId, '/suspend'), operator, { reason: 'abuse' })
  t.match(await ask('DELETE', url(tenantId), operator, { graceDays: 0 }), {
    status: 409,
    body: { code: 'TENANT_UNCONFIRMED' }
  })
  t.match(await ask('DELETE', url(tenantId), operator, {}), { status: 202, body: { state: 'deleted' } })
  t.match(await ask('POST', url(tenantId, '/resume'), operator), { body: { state: 'deleted', suspendedReason: null } })
  t.match(await ask('POST', '/v1/tenant/restore', who), { status: 409, body: { code: 'TENANT_NOT_DELETED' } })
  await ask('POST', url(tenantId, '/suspend'), operator, { reason: 'abuse' })
  t.match(await ask('POST', url(tenantId, '/restore'), operator), {
    body: { state: 'suspended', suspendedReason: 'abuse' }
  })
  await ask('DELETE', url(tenantId), operator, { graceDays: 0, confirm: slug })
  t.match(await ask('POST', url(tenantId, '/restore'), operator), { status: 410, body: { code: 'TENANT_ERASED' } })
  const [row] = await sql`select erase_at <= now() as due from core.tenants where tenant_id = ${tenantId}`
  t.equal(row?.due, true)
})

t.test('a tenant changes its own name and settings, and hears of changes it has not seen', async (t) => {
  const { ask, makeTenant, actions, db } = await teamApp(t)
  const { tenantId, headers } = await makeTenant()
  const who = { headers }
  const { body } = await ask('GET', '/v1/tenant', who)
  const { updatedAt } = body
  const settings = { theme: { dark: true } }
  t.match(await ask('PATCH', '/v1/tenant', who, { name: 'New', settings, updatedAt }), {
    status: 200,
    body: { name: 'New', settings }
  })
  const stale = await ask('PATCH', '/v1/tenant', who, { name: 'Newer', updatedAt })
  t.match(stale, { status: 409, body: { code: 'TENANT_CHANGED' } })
  t.match(await ask('PATCH', '/v1/tenant', who, { name: 'Newer', updatedAt: stale.body.updatedAt }), { status: 200 })
  const deep = JSON.parse(`${'{"a":'.repeat(9)}1${'}'.repeat(9)}`)
  for (const bad of [
    {},
    { plan: 'enterprise' },
    { settings: deep },
    { settings: { a: 'x'.repeat(17_000) } },
    { name: ' ' }
  ]) {
    t.equal((await ask('PATCH', '/v1/tenant', who, bad)).status, 400, JSON.stringify(bad).slice(0, 60))
  }
  t.strictSame(await actions(tenantId), ['tenant.updated', 'tenant.updated'])
  for (const column of ['plan', 'suspended_at', 'erase_at']) {
    const value = column === 'plan' ? 'enterprise' : null
    await t.rejects(
      db.tenant(tenantId, (tx) => tx`update core.tenants set ${tx(column)} = ${value}`),
      { code: '42501' },
      column
    )
  }
})

t.test('the platform names an owner only where nobody else could', async (t) => {
  const { ask, operator, makeTenant, sql, actions } = await teamApp(t)
  const { tenantId } = await makeTenant()
  const name = () => ask('POST', url(tenantId, '/owner'), operator, { email: 'o@example.com' })
  t.match(await name(), { status: 409, body: { code: 'TENANT_OWNED' } }, 'its key names owners')
  await sql`update core.api_key set revoked_at = now() where tenant_id = ${tenantId}`
  const made = await name()
  t.match(made, { status: 201, body: { role: 'owner', state: 'open' } })
  t.match(await name(), { status: 409 }, 'nor beside an open invitation')
  const accepted = { token: made.body.token, password: 'a very long password' }
  t.match(await ask('POST', '/v1/invitations/accept', null, accepted), { status: 200, body: { role: 'owner' } })
  t.match(await name(), { status: 409 })
  t.strictSame(await actions(tenantId), ['tenant.owner_invited', 'member.added'])
  t.equal((await ask('POST', url(newId(), '/owner'), operator, { email: 'o@example.com' })).status, 404)
})

t.test('as many tenants at once as the pool has connections get their keys', async (t) => {
  const { ask, operator } = await teamApp(t, { open: { appPool: 2 } })
  const answers = await Promise.all(
    Array.from({ length: 6 }, (_, n) =>
      ask('POST', '/v1/platform/tenants', operator, { name: 'x', slug: `at-once-${n}`, plan: 'pro' })
    )
  )
  for (const { status, body } of answers) t.match({ status, key: body.key }, { status: 201, key: /^ak_/ })
})
