import t from 'tap'
import { must } from '#core/must.ts'
import { invite } from '#core/tenants/invitations.ts'
import { teamApp } from './support.ts'

t.test('members are listed, changed and removed by whoever is not below them', async (t) => {
  const { ask, makeTenant, user, actions, sql, makeKey, db, auth } = await teamApp(t)
  const { tenantId, headers } = await makeTenant()
  const [owner, admin, member, viewer] = [
    await user('olga', tenantId, 'owner'),
    await user('ada', tenantId, 'admin'),
    await user('max', tenantId, 'member'),
    await user('vera', tenantId, 'viewer')
  ]
  const setRole = (who: typeof owner, whom: typeof owner, role: string) =>
    ask('PATCH', `/v1/members/${whom.userId}`, who, { role })

  const { body } = await ask('GET', '/v1/members?limit=3', viewer)
  t.strictSame(
    body.data.map((one: { role: string }) => one.role),
    ['viewer', 'member', 'admin']
  )
  t.equal((await ask('GET', `/v1/members?limit=3&cursor=${body.nextCursor}`, viewer)).body.data[0].role, 'owner')

  t.match(await setRole(admin, viewer, 'member'), { status: 200, body: { role: 'member' } })
  t.match(await setRole(admin, admin, 'owner'), { status: 403, body: { code: 'TENANT_ROLE_TOO_HIGH' } }, 'not himself')
  t.match(await setRole(admin, member, 'owner'), { status: 403, body: { role: 'owner' } }, 'nor anybody above himself')
  t.match(await setRole(admin, owner, 'viewer'), { status: 403 }, 'nor does he touch who is')
  t.match(await ask('DELETE', `/v1/members/${owner.userId}`, admin), { status: 403 })
  t.match(await setRole(member, viewer, 'viewer'), { status: 403, body: { code: 'AUTH_PERMISSION_MISSING' } })
  t.match(await setRole(owner, owner, 'admin'), { status: 409, body: { code: 'TENANT_OWNER_REQUIRED' } })
  t.match(await ask('DELETE', `/v1/members/${owner.userId}`, owner), { status: 409 }, 'the last owner stays')
  const absent = await ask('DELETE', '/v1/members/01900000-0000-7000-8000-0000000000ff', owner)
  t.match(absent, { status: 404, body: { code: 'RESOURCE_NOT_FOUND' } })

  // A key gives only what it holds itself, whoever made it.
  const narrow = { headers: await makeKey(tenantId, ['members:write']) }
  t.match(await setRole(narrow as never, viewer, 'admin'), { status: 403 })
  t.match(await setRole({ headers } as never, member, 'admin'), { status: 200 })

  const acting = await db.tenant(tenantId, (tx) =>
    auth.createKey(tx, { name: 'of max', scopes: ['sessions:read'], userId: member.userId })
  )
  const bearer = { headers: { authorization: `Bearer ${acting.key.reveal()}` } }
  t.equal((await ask('GET', '/v1/whoami', bearer)).status, 200)
  t.equal((await ask('DELETE', `/v1/members/${member.userId}`, owner)).status, 204)
  t.equal((await ask('GET', '/v1/whoami', bearer)).status, 401, 'keys that act for who is gone end')
  t.match(await ask('GET', '/v1/members', member), { status: 403 }, 'and so does the token, at once')
  t.strictSame(await actions(tenantId), ['member.role_changed', 'member.role_changed', 'member.removed'])
  const [row] = await sql`
    select actor_kind as kind, actor_id as id from audit.entry where tenant_id = ${tenantId} order by at`
  t.strictSame({ ...row }, { kind: 'user', id: admin.userId })
})

t.test('of owners who all leave at once one stays', async (t) => {
  const { ask, makeTenant, user, sql } = await teamApp(t)
  const { tenantId } = await makeTenant()
  const owners = [await user('a', tenantId, 'owner'), await user('b', tenantId, 'owner')]
  for (let round = 0; round < 10; round += 1) {
    await sql`update core.member set role = 'owner' where tenant_id = ${tenantId}`
    const answers = await Promise.all(
      owners.map((owner) => ask('PATCH', `/v1/members/${owner.userId}`, owner, { role: 'admin' }))
    )
    t.strictSame(answers.map(({ status }) => status).sort(), [200, 409])
  }
  // The database says so, whoever asks it.
  const [last] = await sql`select user_id as id from core.member where tenant_id = ${tenantId} and role = 'owner'`
  await t.rejects(sql`delete from core.member where user_id = ${must(last, 'an owner').id}`, { code: 'TO001' })
})

t.test('who is put out or down has left himself no door', async (t) => {
  const { app, ask, makeTenant, user, sql, db, auth } = await teamApp(t)
  const { tenantId, headers } = await makeTenant({ plan: 'enterprise' })
  const [ada, bob] = [await user('ada', tenantId, 'admin'), await user('bob', tenantId, 'admin')]
  const acting = await db.tenant(tenantId, (tx) =>
    auth.createKey(tx, { name: 'of ada', scopes: ['*'], userId: ada.userId })
  )
  const key = { headers: { authorization: `Bearer ${acting.key.reveal()}` } }
  const asks = async (who: { headers: Record<string, string> }, name: string) => {
    const wanted = { email: `${name}@example.com`, role: 'viewer' }
    const { status, body } = await ask('POST', '/v1/invitations', who, wanted)
    t.equal(status, 201, name)
    return body.id as string
  }
  await asks(ada, 'a')
  await asks(key, 'k')
  const [byBob, byTenant] = [await asks(bob, 'b'), await asks({ headers }, 't')]
  const open = async () => {
    const rows = await sql<{ id: string }[]>`select id from core.invitation where revoked_at is null order by id`
    return rows.map(({ id }) => id)
  }
  const counted = async () => {
    const [row] = await sql`select details ->> 'invitationsRevoked' as n from audit.entry order by id desc limit 1`
    return row?.n
  }
  t.equal((await ask('DELETE', `/v1/members/${ada.userId}`, { headers })).status, 204)
  t.strictSame(await open(), [byBob, byTenant])
  t.equal(await counted(), '2')
  t.equal((await ask('PATCH', `/v1/members/${bob.userId}`, { headers }, { role: 'member' })).status, 200)
  t.strictSame(await open(), [byTenant])
  t.equal(await counted(), '1')

  // One who was let in and then had to wait, until he was out.
  const eve = await user('eve', tenantId, 'admin')
  const request = { tenantId, tenantSlug: 'x', userId: eve.userId, role: 'admin' as const, scopes: new Set(['*']) }
  await ask('DELETE', `/v1/members/${eve.userId}`, { headers })
  await t.rejects(
    db.tenant(tenantId, (tx) => invite(tx, app.plans, request, { email: 'e@example.com', role: 'viewer' })),
    { code: 'TENANT_ROLE_TOO_HIGH' }
  )
})

t.test('who is in many tenants reads all of them, a page at a time', async (t) => {
  const { ask, makeTenant, user, sql } = await teamApp(t)
  const ext = await user('ext')
  const joined: string[] = []
  for (let n = 0; n < 3; n += 1) {
    const { tenantId } = await makeTenant()
    await sql`insert into core.member (tenant_id, user_id, role) values (${tenantId}, ${ext.userId}, 'viewer')`
    joined.push(tenantId)
  }
  const ids: string[] = []
  let cursor = ''
  do {
    const { body } = await ask('GET', `/v1/tenants?limit=2${cursor && `&cursor=${cursor}`}`, ext)
    t.ok(body.data.length <= 2)
    ids.push(...body.data.map((one: { id: string }) => one.id))
    cursor = body.nextCursor
  } while (cursor)
  t.strictSame(ids, joined, 'the first joined first')
})
