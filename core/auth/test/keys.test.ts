import t from 'tap'
import { newId } from '#core/ids.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { bearer, join, keyOf } from './support.ts'

t.test(
  'a rotated key has a new secret; the old one works for the overlap, and ends a connection with it',
  async (t) => {
    const clock = new FakeClock(Date.now())
    const { app, auth, makeTenant, makeKey, sql } = await testApp(t, { clock })
    const { tenantId, headers } = await makeTenant()
    const old = await makeKey(tenantId, ['keys:read'])
    const { id } = (await app.inject({ url: '/v1/keys', headers })).json().data[0]
    const rotate = async (payload?: object) =>
      await app.inject({ method: 'POST', url: `/v1/keys/${id}/rotate`, headers, ...(payload ? { payload } : {}) })
    const status = async (key: string) => (await app.inject({ url: '/v1/keys', headers: bearer(key) })).statusCode

    const answer = await rotate({ overlapMs: 60_000 })
    t.equal(answer.statusCode, 200)
    t.equal(answer.headers['cache-control'], 'no-store')
    const { key, oldSecretUntil, rotatedAt } = answer.json()
    t.equal(key.split('_')[2], old.key.split('_')[2], 'the same key')
    t.not(key, old.key)
    t.ok(Date.parse(oldSecretUntil) - Date.parse(rotatedAt) === 60_000)
    t.strictSame([await status(key), await status(old.key)], [200, 200])
    t.equal((await auth.authenticate(old.key)).expiresAt, Date.parse(oldSecretUntil))
    t.equal((await auth.authenticate(key)).expiresAt, undefined)

    await sql`update core.api_key set old_hash_until = now() where id = ${id}`
    await clock.advance(5_000)
    t.strictSame([await status(key), await status(old.key)], [200, 401])

    const leaked = (await rotate({ overlapMs: 0 })).json()
    t.equal(leaked.oldSecretUntil, null)
    t.strictSame([await status(leaked.key), await status(key)], [200, 401], 'a leaked secret ends at once')
    t.equal(Date.parse((await rotate()).json().oldSecretUntil) > Date.now() + 23 * 3600_000, true, 'default: a day')
    t.match((await rotate({ overlapMs: 8 * 24 * 3600_000 })).json(), { errors: [{ pointer: '/overlapMs' }] })
    t.match((await app.inject({ url: `/v1/keys/${id}`, headers })).json(), { id, name: 'test', scopes: ['keys:read'] })

    await app.inject({ method: 'DELETE', url: `/v1/keys/${id}`, headers })
    t.match((await rotate()).json(), { status: 409, code: 'AUTH_KEY_ENDED' })
  }
)

t.test('nobody gets a secret by rotating that can do more than they can', async (t) => {
  const world = await testApp(t)
  const { app, makeTenant, makeKey } = world
  const { tenantId } = await makeTenant()
  const [owner, admin] = [newId(), newId()]
  await join(world, tenantId, owner, 'owner')
  await join(world, tenantId, admin, 'admin')
  const wide = await keyOf(world, tenantId, owner, ['*'])
  const asAdmin = await keyOf(world, tenantId, admin, ['*'])
  const writer = await makeKey(tenantId, ['keys:write'])
  const rotate = async (id: string, headers: object) =>
    (await app.inject({ method: 'POST', url: `/v1/keys/${id}/rotate`, headers: { ...headers } })).json()
  t.match(await rotate(wide.id, asAdmin.headers), { status: 403, code: 'AUTH_KEY_NOT_OWN' })
  t.match(await rotate(wide.id, writer), { status: 403, code: 'AUTH_KEY_NOT_OWN' })
  t.match(await rotate(wide.id, wide.headers), { id: wide.id, key: String })
  const ofTenant = (await app.inject({ url: '/v1/keys', headers: asAdmin.headers })).json().data
  const star = ofTenant.find(
    (key: { scopes: string[]; userId: string | null }) => key.userId === null && key.scopes[0] === '*'
  )
  t.match(
    await rotate(star.id, asAdmin.headers),
    { code: 'AUTH_SCOPE_TOO_WIDE', scopes: ['*'] },
    'an admin is no owner'
  )
})

t.test('whoever may write keys ends their own and what can do no more than they can; an owner ends all', async (t) => {
  const world = await testApp(t)
  const { app, makeTenant } = world
  const { tenantId } = await makeTenant()
  const [owner, admin] = [newId(), newId()]
  await join(world, tenantId, owner, 'owner')
  await join(world, tenantId, admin, 'admin')
  const wide = await keyOf(world, tenantId, owner, ['*'])
  const narrow = await keyOf(world, tenantId, owner, ['keys:write'])
  const asAdmin = await keyOf(world, tenantId, admin, ['*'])
  const reader = await keyOf(world, tenantId, admin, ['keys:read'])
  const revoke = async (id: string, { headers }: { headers: object }) => {
    const answer = await app.inject({ method: 'DELETE', url: `/v1/keys/${id}`, headers: { ...headers } })
    return answer.body === '' ? answer.statusCode : answer.json().code
  }
  t.equal(await revoke(wide.id, asAdmin), 'AUTH_SCOPE_TOO_WIDE', 'an admin does not cut the owner off')
  t.equal(await revoke(wide.id, narrow), 'AUTH_SCOPE_TOO_WIDE', "nor does a lesser key of the owner's own")
  t.equal(await revoke(reader.id, narrow), 'AUTH_SCOPE_TOO_WIDE')
  t.equal(await revoke(reader.id, asAdmin), 204)
  t.equal(await revoke(narrow.id, narrow), 204, 'its own')
  t.equal(await revoke(asAdmin.id, wide), 204, 'the owner everything')
})

t.test('a key does at most what its member may, changes with the role and ends with the membership', async (t) => {
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock })
  const { app, sql, makeTenant } = world
  const { tenantId } = await makeTenant()
  const userId = newId()
  await join(world, tenantId, userId, 'admin')
  const { headers } = await keyOf(world, tenantId, userId, ['*'])
  const make = async (payload: object) =>
    (await app.inject({ method: 'POST', url: '/v1/keys', headers, payload: { name: 'x', ...payload } })).json()
  const mine = await make({ scopes: ['keys:read'] })
  t.equal(mine.userId, userId, 'a key made by a member acts for them')
  const ours = await make({ scopes: ['keys:read'], actsFor: 'tenant' })
  t.equal(ours.userId, null)
  t.match(await make({ scopes: ['*'] }), { code: 'AUTH_SCOPE_TOO_WIDE', scopes: ['*'] })
  t.match(await make({ scopes: ['tenant:*'] }), { code: 'AUTH_SCOPE_TOO_WIDE' })

  const list = async (key: string) => (await app.inject({ url: '/v1/keys', headers: bearer(key) })).statusCode
  await sql`update core.member set role = 'viewer' where user_id = ${userId}`
  await clock.advance(5_000)
  t.match(await make({ scopes: ['keys:read'] }), { status: 403, permission: 'keys:write' })
  t.equal(await list(mine.key), 200)
  await sql`delete from core.member where user_id = ${userId}`
  await clock.advance(5_000)
  t.strictSame([await list(mine.key), await list(ours.key)], [401, 200])
})

t.test('a key that is bound to addresses works from there only', async (t) => {
  const { app, makeTenant } = await testApp(t)
  const { headers } = await makeTenant()
  const make = async (allowedIps: string[]) => {
    const payload = { name: 'ci', scopes: ['keys:read'], allowedIps }
    return (await app.inject({ method: 'POST', url: '/v1/keys', headers, payload })).json()
  }
  const { key, allowedIps } = await make(['203.0.113.0/24', '2001:db8::/32'])
  t.strictSame(allowedIps, ['203.0.113.0/24', '2001:db8::/32'])
  const from = async (remoteAddress: string) =>
    (await app.inject({ url: '/v1/keys', headers: bearer(key), remoteAddress })).statusCode
  for (const address of ['203.0.113.9', '::ffff:203.0.113.9', '2001:db8::1']) t.equal(await from(address), 200, address)
  for (const address of ['127.0.0.1', '203.0.114.1', '::1', '::ffff:10.0.0.1'])
    t.equal(await from(address), 403, address)
  for (const bad of ['203.0.113.0', '203.0.113.0/33', 'localhost/8', '203.0.113.0/24/1', '2001:db8::/129']) {
    t.match(await make([bad]), { code: 'REQUEST_INVALID', errors: [{ pointer: '/allowedIps/0' }] }, bad)
  }
})

t.test('making, rotating and revoking a key each leave one audit row, with who did it and from where', async (t) => {
  const { app, makeTenant, sql } = await testApp(t)
  const { tenantId, headers } = await makeTenant()
  const { tenantId: _, keyId } = (await app.inject({ url: '/v1/whoami', headers })).json()
  const made = await app.inject({
    method: 'POST',
    url: '/v1/keys',
    headers,
    payload: { name: 'ci', scopes: ['keys:read'] }
  })
  const { id, key } = made.json()
  await app.inject({ method: 'POST', url: `/v1/keys/${id}/rotate`, headers })
  for (let i = 0; i < 2; i++) await app.inject({ method: 'DELETE', url: `/v1/keys/${id}`, headers })
  await app.inject({ method: 'DELETE', url: `/v1/keys/${newId()}`, headers })
  const rows = await sql`
    select action, subject, actor_kind, actor_id, host(from_address::inet) as ip, request_id is not null as asked, details::text
    from audit.entry where tenant_id = ${tenantId} order by at, action`
  t.strictSame(rows.map(({ action }) => action).sort(), ['key.created', 'key.revoked', 'key.rotated'])
  for (const row of rows) {
    t.match(row, { subject: `key:${id}`, actor_kind: 'key', actor_id: keyId, ip: '127.0.0.1', asked: true })
    t.notOk(row.details.includes(key.split('_')[3]))
  }
})

t.test("Tenant Zero's owner names who of its members may do what for the platform", async (t) => {
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock })
  const { app, makeTenant, sql } = world
  const zero = await makeTenant({ id: TENANT_ZERO })
  const elsewhere = await makeTenant()
  const [owner, operator, other] = [newId(), newId(), newId()]
  await join(world, TENANT_ZERO, owner, 'owner')
  await join(world, TENANT_ZERO, operator, 'member')
  await join(world, elsewhere.tenantId, other, 'owner')
  const asOwner = await keyOf(world, TENANT_ZERO, owner, ['*', 'platform:*'])
  const asOperator = await keyOf(world, TENANT_ZERO, operator, ['*', 'platform:*'])
  const rooms = async (headers: object) =>
    (await app.inject({ url: '/v1/system/rooms', headers: { ...headers } })).statusCode
  const name = async (id: string, permissions: string[], headers: object = asOwner.headers) =>
    (
      await app.inject({
        method: 'PUT',
        url: `/v1/platform/operators/${id}`,
        headers: { ...headers },
        payload: { permissions }
      })
    ).json()
  t.strictSame([await rooms(asOwner.headers), await rooms(asOperator.headers)], [200, 403])
  t.match(await name(operator, ['platform:rooms']), { userId: operator, permissions: ['platform:rooms'] })
  t.equal(await rooms(asOperator.headers), 200)
  t.match((await app.inject({ url: '/v1/platform/operators', headers: asOwner.headers })).json(), {
    data: [
      { userId: owner, permissions: ['platform:*'] },
      { userId: operator, permissions: ['platform:rooms'] }
    ]
  })
  t.match(await name(operator, ['platform:operators'], asOperator.headers), { permission: 'platform:operators' })
  const narrow = await keyOf(world, TENANT_ZERO, owner, ['platform:operators', 'platform:doctor'])
  const wider = { code: 'AUTH_SCOPE_TOO_WIDE', scopes: ['platform:rooms'] }
  t.match(await name(operator, [], narrow.headers), wider, 'nobody takes away what they do not hold')
  const more = ['platform:rooms', 'platform:doctor']
  t.match(await name(operator, more, narrow.headers), { permissions: more }, 'what stays was not theirs to give')
  t.match(await name(operator, ['platform:nothing']), { errors: [{ pointer: '/permissions/0' }] })
  t.match(await name(operator, ['sessions:read']), { code: 'REQUEST_INVALID' })
  t.match(await name(other, ['platform:rooms']), { status: 404 }, 'only members of Tenant Zero')
  t.match(await name(operator, []), { permissions: [] })
  t.equal(await rooms(asOperator.headers), 403)

  // Whatever stands in the rows of another tenant, or of a key of Tenant Zero without platform scopes.
  await sql`update core.member set platform = '{platform:rooms,*}' where user_id = ${other}`
  const foreign = await keyOf(world, elsewhere.tenantId, other, ['*', 'platform:*'])
  t.strictSame([await rooms(foreign.headers), await rooms(zero.headers)], [403, 403])
  const audited = await sql`select 1 from audit.entry where action = 'operator.changed' and tenant_id = ${TENANT_ZERO}`
  t.equal(audited.length, 3)
})

t.test('a suspended tenant is refused; while it waits for its deletion only marked routes answer', async (t) => {
  const { app, auth, makeTenant, sql } = await testApp(t)
  const { tenantId, headers } = await makeTenant()
  const get = async (url: string) => (await app.inject({ url, headers })).json()
  await sql`update core.tenants set suspended_at = now(), suspended_by = 'platform', suspended_reason = 'unpaid' where tenant_id = ${tenantId}`
  auth.forgetTenant(tenantId)
  t.match(await get('/v1/keys'), { status: 403, code: 'TENANT_SUSPENDED', reason: 'unpaid' })
  t.match(await get('/v1/whoami'), { status: 403 })
  await sql`update core.tenants set suspended_by = 'deletion', suspended_reason = null where tenant_id = ${tenantId}`
  auth.forgetTenant(tenantId)
  t.match(await get('/v1/keys'), { status: 403, code: 'TENANT_SUSPENDED' })
  t.match(await get('/v1/whoami'), { tenantId })
})
