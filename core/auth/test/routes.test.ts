import t from 'tap'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'

t.test('a key made over HTTP works at once, shows its secret once and is stored only as a hash', async (t) => {
  const { app, makeTenant, sql, lines } = await testApp(t)
  const owner = await makeTenant()
  const made = await app.inject({
    method: 'POST',
    url: '/v1/keys',
    headers: owner.headers,
    payload: { name: 'ci', scopes: ['keys:read'] }
  })
  t.equal(made.statusCode, 201)
  const { key, id, scopes } = made.json()
  t.match(key, /^ak_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/)
  t.equal(made.headers.location, `/v1/keys/${id}`)
  t.strictSame(scopes, ['keys:read'])

  const me = await app.inject({ url: '/v1/whoami', headers: { authorization: `Bearer ${key}` } })
  t.equal(me.statusCode, 200)
  t.match(me.json(), { tenantId: owner.tenantId, keyId: id, scopes: ['keys:read'], tenant: { slug: owner.slug } })

  const list = await app.inject({ url: '/v1/keys', headers: owner.headers })
  t.equal(list.json().data.length, 2)
  t.notOk(list.body.includes(key.split('_')[3]), 'the list holds no secret')
  const rows = await sql`select k::text as row from core.api_key k`
  t.notOk(JSON.stringify(rows).includes(key.split('_')[3]), 'the table holds no secret')
  t.notOk(lines.join('').includes(key), 'the log holds no secret')
})

t.test(
  'absent, malformed, unknown, revoked and expired keys get the same answer, and the log tells them apart',
  async (t) => {
    const { app, makeTenant, sql, lines } = await testApp(t)
    const { tenantId, headers, key } = await makeTenant()
    const late = await makeTenant()
    await sql`update core.api_key set expires_at = now() - interval '1 second' where tenant_id = ${late.tenantId}`
    const { data } = (await app.inject({ url: '/v1/keys', headers })).json()
    const gone = await app.inject({ method: 'DELETE', url: `/v1/keys/${data[0].id}`, headers })
    t.equal(gone.statusCode, 204)
    t.equal(gone.body, '')
    const other = key.replace(/^ak_live_.{8}/, 'ak_live_zzzzzzzz')
    const asked = [
      {},
      { authorization: 'Bearer nonsense' },
      { authorization: `Basic ${key}` },
      { authorization: `Bearer ${other}` },
      headers,
      late.headers
    ]
    const answers = await Promise.all(asked.map((headers) => app.inject({ url: '/v1/keys', headers })))
    for (const answer of answers) {
      t.equal(answer.statusCode, 401)
      t.match(answer.headers['www-authenticate'], /^Bearer/)
      t.equal(answer.headers['x-request-id'], answer.json().requestId)
      t.match(answer.json(), { code: 'AUTH_REQUIRED', detail: 'a valid API key or access token is required' })
    }
    for (const reason of ['no key', 'malformed key', 'revoked key', 'expired key']) {
      t.ok(
        lines.some((line) => line.includes(reason)),
        `the log says ${reason}`
      )
    }
    const [row] = await sql`select revoked_at from core.api_key where tenant_id = ${tenantId}`
    t.ok(row?.revoked_at)
  }
)

t.test('a key of one tenant cannot name another in AgentOS-Tenant, by id or by slug', async (t) => {
  const { app, makeTenant } = await testApp(t)
  const [a, b] = [await makeTenant(), await makeTenant()]
  for (const tenant of [b.tenantId, b.slug, 'nobody']) {
    const answer = await app.inject({ url: '/v1/whoami', headers: { ...a.headers, 'agentos-tenant': tenant } })
    t.equal(answer.statusCode, 403)
    t.equal(answer.json().code, 'AUTH_TENANT_MISMATCH')
  }
  for (const tenant of [a.tenantId, a.slug]) {
    const answer = await app.inject({ url: '/v1/whoami', headers: { ...a.headers, 'agentos-tenant': tenant } })
    t.equal(answer.statusCode, 200)
  }
})

t.test('a missing permission is named, and a key can give away no more than it has', async (t) => {
  const { app, makeTenant, makeKey } = await testApp(t)
  const { tenantId } = await makeTenant()
  const reader = await makeKey(tenantId, ['keys:read'])
  const refused = await app.inject({
    method: 'POST',
    url: '/v1/keys',
    headers: reader,
    payload: { name: 'x', scopes: ['keys:read'] }
  })
  t.equal(refused.statusCode, 403)
  t.match(refused.json(), { code: 'AUTH_PERMISSION_MISSING', permission: 'keys:write' })

  const writer = await makeKey(tenantId, ['keys:write'])
  const wider = ['keys:read', 'keys:*', '*', 'platform:rooms']
  for (const scope of wider) {
    const answer = await app.inject({
      method: 'POST',
      url: '/v1/keys',
      headers: writer,
      payload: { name: 'x', scopes: [scope] }
    })
    t.equal(answer.statusCode, 403, scope)
    t.match(answer.json(), { code: 'AUTH_SCOPE_TOO_WIDE', scopes: [scope] })
  }
  const typo = await app.inject({
    method: 'POST',
    url: '/v1/keys',
    headers: writer,
    payload: { name: 'x', scopes: ['keys:write', 'keyz:write'] }
  })
  t.equal(typo.statusCode, 400)
  t.match(typo.json(), { code: 'REQUEST_INVALID', errors: [{ pointer: '/scopes/1' }] })
})

t.test('platform permissions work in Tenant Zero only, even where a row of another tenant holds them', async (t) => {
  const { app, makeTenant } = await testApp(t)
  const ask = (headers: object) => app.inject({ url: '/v1/system/rooms', headers: { ...headers } })
  const zero = await makeTenant({ id: TENANT_ZERO, scopes: ['*', 'platform:*'] })
  const rooms = await ask(zero.headers)
  t.equal(rooms.statusCode, 200)
  t.match(
    rooms
      .json()
      .data.slice(0, 2)
      .map((room: { name: string }) => room.name),
    ['tenants', 'auth']
  )
  const other = await makeTenant({ scopes: ['*', 'platform:*', 'platform:rooms'] })
  t.match((await ask(other.headers)).json(), { status: 403, permission: 'platform:rooms' })
  t.equal((await ask({})).statusCode, 401)
  const star = await makeTenant({ scopes: ['*'] })
  t.equal((await ask(star.headers)).statusCode, 403)
})

t.test("another tenant's key is as absent as none", async (t) => {
  const { app, makeTenant, sql } = await testApp(t)
  const [a, b] = [await makeTenant(), await makeTenant()]
  const [row] = await sql`select id from core.api_key where tenant_id = ${b.tenantId}`
  for (const id of [row?.id, '00000000-0000-7000-8000-00000000dead', 'no-uuid']) {
    const answer = await app.inject({ method: 'DELETE', url: `/v1/keys/${id}`, headers: a.headers })
    t.match(answer.json(), { status: 404, code: 'RESOURCE_NOT_FOUND' })
  }
  t.equal((await app.inject({ url: '/v1/whoami', headers: b.headers })).statusCode, 200)
})

t.test('a list is read page by page without loss or double, and a changed cursor is refused', async (t) => {
  const { app, makeTenant, makeKey, sql } = await testApp(t)
  const { tenantId, headers } = await makeTenant()
  for (let i = 0; i < 6; i++) await makeKey(tenantId, ['keys:read'])
  // Within one millisecond: a cursor that loses microseconds would lose rows.
  await sql`
    update core.api_key k set created_at = '2026-01-01T00:00:00.123Z'::timestamptz + n * interval '7 microseconds'
    from (select id, row_number() over (order by id) as n from core.api_key) numbered where numbered.id = k.id`
  const seen: string[] = []
  let cursor = ''
  do {
    const { data, nextCursor } = (await app.inject({ url: `/v1/keys?limit=3${cursor}`, headers })).json()
    seen.push(...data.map((key: { id: string }) => key.id))
    cursor = nextCursor && `&cursor=${nextCursor}`
  } while (cursor)
  t.equal(seen.length, 7)
  t.equal(new Set(seen).size, 7)
  const { nextCursor } = (await app.inject({ url: '/v1/keys?limit=1', headers })).json()
  for (const bad of [`x${nextCursor}`, nextCursor.slice(0, -4), 'x', nextCursor.replace(/^./, 'A')]) {
    const answer = await app.inject({ url: `/v1/keys?cursor=${bad}`, headers })
    t.match(answer.json(), { status: 400, code: 'REQUEST_CURSOR_INVALID' })
  }
  const wrong = await app.inject({ url: '/v1/keys?limit=201&page=2', headers })
  t.match(wrong.json(), { code: 'REQUEST_INVALID', errors: [{ in: 'query', pointer: '/limit' }, { pointer: '/page' }] })
})
