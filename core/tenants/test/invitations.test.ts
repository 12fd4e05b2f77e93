import t from 'tap'
import { planTable } from '#config/plugins.ts'
import { RateLimits } from '#core/http/limits/index.ts'
import { smallTable } from '#core/http/test/support/limits.ts'
import { newId } from '#core/ids.ts'
import { acceptInvitation, insertInvitation } from '#core/tenants/invitations.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { teamApp, USER_PASSWORD } from './support.ts'

const ACCEPT = '/v1/invitations/accept'
const password = 'another long password'

t.test('somebody new accepts with a password, somebody signed in with a token, each once', async (t) => {
  const { ask, makeTenant, user, actions, sql, lines } = await teamApp(t)
  const { tenantId, slug, headers } = await makeTenant()
  const owner = { headers }
  const invite = async (email: string, role = 'member') =>
    (await ask('POST', '/v1/invitations', owner, { email, role })).body

  const made = await ask('POST', '/v1/invitations', owner, { email: ' Neu@Example.com', role: 'member' })
  t.match(made, { status: 201, body: { email: 'neu@example.com', state: 'open', acceptUrl: ACCEPT } })
  const { token } = made.body
  t.match(await ask('POST', ACCEPT, null, { token }), { status: 400, body: { errors: [{ pointer: '/password' }] } })
  const taken = await ask('POST', ACCEPT, null, { token, password })
  t.match(taken, { status: 200, body: { role: 'member', tenant: { id: tenantId, slug } } })
  const login = await ask('POST', '/v1/auth/token', null, { email: 'neu@example.com', password })
  const fresh = { headers: { authorization: `Bearer ${login.body.accessToken}` } }
  t.match(await ask('GET', '/v1/whoami', fresh), { status: 200, body: { tenantId, role: 'member' } })

  const outsider = await user('ext')
  t.equal((await ask('GET', '/v1/whoami', outsider)).status, 403)
  const second = await invite('ext@elsewhere.example')
  t.match(await ask('POST', ACCEPT, outsider, { token: second.token }), {
    status: 200,
    body: { userId: outsider.userId }
  })
  t.equal((await ask('GET', '/v1/whoami', outsider)).status, 200, 'and is in, at once')

  const known = await invite('ext@example.com')
  const again = await ask('POST', ACCEPT, outsider, { token: known.token })
  t.match(again, { status: 409, body: { code: 'TENANT_MEMBER_EXISTS' } })

  const { data } = (await ask('GET', '/v1/invitations', owner)).body
  t.strictSame(
    data.map((one: { state: string }) => one.state),
    ['open', 'accepted', 'accepted']
  )
  t.match(await ask('GET', '/v1/tenants', outsider), {
    status: 200,
    body: { data: [{ id: tenantId, role: 'member' }] }
  })
  t.match(await ask('GET', '/v1/tenants', owner), { body: { data: [{ id: tenantId, role: null }] } })
  t.equal((await ask('GET', '/v1/tenants', null)).status, 401)
  t.strictSame((await actions(tenantId)).slice(0, 2), ['invitation.created', 'member.added'])
  const stored = JSON.stringify(await sql`select i::text as row from core.invitation i`) + lines.join('')
  t.notOk(stored.includes(token) || stored.includes(Buffer.from(token).toString('hex')), 'no token is kept')
})

t.test('with a password of a known address it is a login, and counted as one', async (t) => {
  const clock = new FakeClock()
  const table = { ...smallTable, address: { read: 100, write: 100, heavy: 100, auth: 100 } }
  const { ask, makeTenant, user, sql } = await teamApp(t, {
    clock,
    parts: ({ db }) => ({ limits: new RateLimits({ db, clock, table }) })
  })
  const known = await user('known')
  const { tenantId, headers } = await makeTenant({ plan: 'enterprise' })
  const invited = await ask('POST', '/v1/invitations', { headers }, { email: known.email, role: 'member' })
  const accept = (secret: string) => ask('POST', ACCEPT, null, { token: invited.body.token, password: secret })
  for (const guess of ['a wrong password', 'another wrong one']) {
    t.match(await accept(guess), { status: 401, body: { code: 'AUTH_CREDENTIALS_WRONG' } })
  }
  t.match(await accept(USER_PASSWORD), { status: 429 }, 'who guessed too often is not looked at')
  await clock.advance(table.failures.accountAtAddress.minutes * 60_000)
  t.match(await accept(USER_PASSWORD), { status: 200, body: { userId: known.userId, role: 'member' } })
  const members = await sql`select user_id as id from core.member where tenant_id = ${tenantId}`
  t.strictSame([...members], [{ id: known.userId }])
})

t.test('two invitations to one new address, accepted at once, make one user', async (t) => {
  const { ask, makeTenant, sql } = await teamApp(t)
  const tokens = await Promise.all(
    [await makeTenant(), await makeTenant()].map(async ({ headers }) => {
      const { body } = await ask('POST', '/v1/invitations', { headers }, { email: 'two@example.com', role: 'member' })
      return body.token
    })
  )
  const answers = await Promise.all(tokens.map((token) => ask('POST', ACCEPT, null, { token, password })))
  t.strictSame(
    answers.map(({ status }) => status),
    [200, 200]
  )
  t.equal((await sql`select 1 from core.app_user`).length, 1)
})

t.test('who has no invitation costs no hash', async (t) => {
  const { ask } = await teamApp(t)
  // Many more than may wait for a hash (core/auth/login/password.ts): some would be 503.
  const answers = await Promise.all(
    Array.from({ length: 80 }, (_, n) => ask('POST', ACCEPT, null, { token: `inv_${n}`, password }))
  )
  t.strictSame([...new Set(answers.map(({ status }) => status))], [410])
})

t.test('a used, revoked, expired or invented token gets one answer', async (t) => {
  const { ask, makeTenant, sql, operator } = await teamApp(t)
  const { tenantId, headers } = await makeTenant()
  const invite = async (name: string) => {
    const email = `${name}@example.com`
    return (await ask('POST', '/v1/invitations', { headers }, { email, role: 'viewer' })).body
  }
  const tokens = { used: '', revoked: '', expired: '', suspended: '', invented: `inv_${'x'.repeat(43)}` }
  const [used, revoked, expired] = [await invite('used'), await invite('revoked'), await invite('expired')]
  await ask('POST', ACCEPT, null, { token: used.token, password })
  t.equal((await ask('DELETE', `/v1/invitations/${revoked.id}`, { headers })).status, 204)
  t.equal((await ask('DELETE', `/v1/invitations/${revoked.id}`, { headers })).status, 204, 'twice is once')
  t.equal((await ask('DELETE', `/v1/invitations/${newId()}`, { headers })).status, 404)
  await sql`update core.invitation set expires_at = now() where id = ${expired.id}`
  Object.assign(tokens, { used: used.token, revoked: revoked.token, expired: expired.token })
  const open = await invite('open')
  await ask('POST', `/v1/platform/tenants/${tenantId}/suspend`, operator, { reason: 'unpaid' })
  tokens.suspended = open.token
  for (const [why, token] of Object.entries(tokens)) {
    const { status, body } = await ask('POST', ACCEPT, null, { token, password })
    t.match({ status, code: body.code, detail: body.detail }, { status: 410, code: 'TENANT_INVITATION_INVALID' }, why)
  }
  t.match(await ask('POST', ACCEPT, null, { token: 'x', password: 'short' }), { status: 400 })
})

t.test('nobody invites above himself, an address twice, or more than the plan has places', async (t) => {
  const { ask, makeTenant, user, sql } = await teamApp(t)
  const { tenantId } = await makeTenant({ plan: 'pro' })
  const admin = await user('ada', tenantId, 'admin')
  const invite = (email: string, role = 'member') => ask('POST', '/v1/invitations', admin, { email, role })
  t.match(await invite('x@example.com', 'owner'), { status: 403, body: { code: 'TENANT_ROLE_TOO_HIGH' } })
  t.match(await invite('not an address'), { status: 400 })
  const first = await invite('x@example.com', 'admin')
  t.match(await invite('X@example.com'), {
    status: 409,
    body: { code: 'TENANT_INVITATION_EXISTS', invitationId: first.body.id }
  })
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => invite(`n${n}@example.com`)))
  t.equal(answers.filter(({ status }) => status === 201).length, 8, 'ten places, one is taken and one was promised')
  const full = answers.find(({ status }) => status !== 201)
  t.match(full, { status: 402, body: { code: 'TENANT_TEAM_FULL', limit: 10, used: 10, plan: 'pro', resetsAt: null } })
  await ask('DELETE', `/v1/invitations/${first.body.id}`, admin)
  t.equal((await invite('late@example.com')).status, 201, 'a revoked invitation gives its place back')
  const [count] = await sql`select count(*)::int as n from core.invitation`
  t.equal(count?.n, 10)
})

t.test('two hundred who accept at once never go beyond the plan', async (t) => {
  const { makeTenant, db, sql } = await teamApp(t)
  const { tenantId } = await makeTenant({ plan: 'enterprise' })
  const tokens = await db.system(async (tx) => {
    const made: string[] = []
    for (let n = 0; n < 200; n += 1) {
      const wanted = { email: `n${n}@example.com`, role: 'member' as const }
      made.push((await insertInvitation(tx, tenantId, wanted, 'key:test')).token.reveal())
    }
    return made
  })
  await sql`update core.tenants set plan = 'pro' where tenant_id = ${tenantId}` // smaller than what was promised
  const outcomes = await Promise.allSettled(
    tokens.map((token) => db.system((tx) => acceptInvitation(tx, planTable, token, async () => newId(), {})))
  )
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 10)
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') t.equal(outcome.reason.code, 'TENANT_TEAM_FULL')
  }
  const [count] = await sql`select count(*)::int as n from core.member where tenant_id = ${tenantId}`
  t.equal(count?.n, 10)
})
