import { createLocalJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { createAuth } from '#core/auth/auth.ts'
import { checkPassword, hashPassword, inTurn } from '#core/auth/login/password.ts'
import { refreshTokens } from '#core/auth/login/refresh-token.ts'
import { sweepLogins } from '#core/auth/login/store.ts'
import { createUser } from '#core/auth/users.ts'
import type { Limits } from '#core/http/limits/types.ts'
import { newId } from '#core/ids.ts'
import { Secret } from '#core/secret.ts'
import { type TestApp, testApp } from '#test/support/app.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { until } from '#test/support/until.ts'
import { bearer, identityProvider, join, keyOf } from './support.ts'

const password = 'correct horse battery staple'
const hash = await hashPassword(password)

const post = (world: TestApp, url: string, payload: object) => world.app.inject({ method: 'POST', url, payload })
const whoami = (world: TestApp, token: string) => world.app.inject({ url: '/v1/whoami', headers: bearer(token) })

/** A user with a password, member of one tenant. `stored`: `hash` where what hashing costs matters. */
async function citizen(world: TestApp, email: string, stored = cheapHash(password)) {
  const { id } = await world.db.system((tx) => createUser(tx, { email, password: stored }))
  const { tenantId } = await world.makeTenant()
  await join(world, tenantId, id, 'member')
  const logIn = async () => (await post(world, '/v1/auth/token', { email, password })).json()
  return { id, tenantId, logIn }
}

t.test('e-mail and password give an access token that says who one is, signed by the published key', async (t) => {
  const world = await testApp(t)
  const { id, tenantId } = await citizen(world, 'ada@example.com')
  const answer = await post(world, '/v1/auth/token', { email: ' Ada@Example.com ', password })
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['cache-control'], 'no-store')
  const { accessToken, refreshToken, ...more } = answer.json()
  t.strictSame(more, { tokenType: 'Bearer', expiresIn: 900 })
  t.match((await whoami(world, accessToken)).json(), {
    tenantId,
    userId: id,
    keyId: null,
    role: 'member',
    user: { email: 'ada@example.com' }
  })
  const jwks = (await world.app.inject('/.well-known/jwks.json')).json()
  const { protectedHeader } = await jwtVerify(accessToken, createLocalJWKSet(jwks), { typ: 'at+jwt' })
  t.equal(protectedHeader.alg, 'EdDSA')
  t.notOk('d' in jwks.keys[0], 'without its private half')
  const stored = JSON.stringify(
    await world.sql`
    select u::text, (select string_agg(l::text, '') from core.login l) as logins from core.app_user u`
  )
  for (const secret of [password, accessToken, refreshToken])
    t.notOk(stored.includes(secret), 'nothing of it is stored')
  t.notOk(world.lines.join('').includes(accessToken) || world.lines.join('').includes(refreshToken))
})

t.test('a wrong password and an unknown e-mail are one answer after the same work', async (t) => {
  const world = await testApp(t)
  await citizen(world, 'ada@example.com', hash)
  const ask = async (payload: object) => {
    const before = process.cpuUsage()
    const answer = await post(world, '/v1/auth/token', payload)
    const { user, system } = process.cpuUsage(before)
    const { requestId: _, ...problem } = answer.json()
    return { text: JSON.stringify(problem), cpuMs: (user + system) / 1000 }
  }
  const wrong = await ask({ email: 'ada@example.com', password: `${password}!` })
  const unknown = await ask({ email: 'nobody@example.com', password })
  t.match(JSON.parse(wrong.text), { status: 401, code: 'AUTH_CREDENTIALS_WRONG' })
  t.equal(unknown.text, wrong.text)
  t.ok(unknown.cpuMs > wrong.cpuMs / 3, `unknown ${unknown.cpuMs} ms, wrong ${wrong.cpuMs} ms`)
})

t.test('a refresh token is good once; the second time ends the login, whoever came second', async (t) => {
  const world = await testApp(t)
  const { logIn } = await citizen(world, 'ada@example.com')
  const [first, other] = [await logIn(), await logIn()]
  const refresh = async (refreshToken: string) => await post(world, '/v1/auth/token', { refreshToken })
  const second = (await refresh(first.refreshToken)).json()
  t.equal((await whoami(world, second.accessToken)).statusCode, 200)
  const refusals = [await refresh(first.refreshToken), await refresh(second.refreshToken)]
  for (const answer of refusals) t.match(answer.json(), { status: 401, code: 'AUTH_REFRESH_REFUSED' })
  t.ok(world.lines.some((line) => line.includes('a refresh token was used twice')))
  world.auth.forgetUser((await whoami(world, other.accessToken)).json().userId)
  t.equal((await whoami(world, second.accessToken)).statusCode, 401, 'its access tokens are over')
  t.equal((await whoami(world, other.accessToken)).statusCode, 200, 'another login goes on')
  const { requestId: _, ...invented } = (await refresh(`rt_live_${'A'.repeat(70)}`)).json()
  const { requestId: __, ...reused } = refusals[0]?.json() ?? {}
  t.strictSame(invented, reused, 'an invented token learns no more')
})

t.test('of two who bring a refresh token at once one gets the next', async (t) => {
  const world = await testApp(t)
  const { logIn } = await citizen(world, 'ada@example.com')
  const { refreshToken } = await logIn()
  const answers = await Promise.all([1, 2, 3].map(() => post(world, '/v1/auth/token', { refreshToken })))
  t.strictSame(answers.map(({ statusCode }) => statusCode).sort(), [200, 401, 401])
})

t.test('a login ends after two weeks without use and after three months with it', async (t) => {
  const world = await testApp(t)
  const { logIn } = await citizen(world, 'ada@example.com')
  let { refreshToken } = await logIn()
  const refresh = () => post(world, '/v1/auth/token', { refreshToken })
  await world.sql`update core.login set created_at = now() - interval '80 days', expires_at = now() + interval '1 second'`
  refreshToken = (await refresh()).json().refreshToken
  const [row] = await world.sql`select expires_at < now() + interval '11 days' as soon from core.login`
  t.equal(row?.soon, true)
  await world.sql`update core.login set expires_at = now()`
  t.equal((await refresh()).statusCode, 401)
})

t.test('what is over is swept: logins, tickets, and users who are nowhere a member for a month', async (t) => {
  const world = await testApp(t)
  const { sql, db } = world
  const [stays, left, fresh] = [
    await citizen(world, 'a@x.io'),
    await citizen(world, 'b@x.io'),
    await citizen(world, 'c@x.io')
  ]
  for (const { logIn } of [stays, left]) await logIn()
  await sql`delete from core.member where user_id in ${sql([left.id, fresh.id])}`
  await sql`update core.app_user set created_at = now() - interval '31 days' where id <> ${fresh.id}`
  t.equal(await db.system(sweepLogins), 0, 'who still has a login was here lately')
  await sql`update core.login set expires_at = now() - interval '2 days' where user_id = ${left.id}`
  t.equal(await db.system(sweepLogins), 2, 'the login and its user')
  const users = await sql<{ id: string }[]>`select id from core.app_user`
  t.strictSame(new Set(users.map(({ id }) => id)), new Set([stays.id, fresh.id]))
})

t.test('after a logout the access token is refused, here at once and elsewhere after 5 s', async (t) => {
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock })
  const { logIn } = await citizen(world, 'ada@example.com')
  const { accessToken, refreshToken } = await logIn()
  t.equal((await whoami(world, accessToken)).statusCode, 200)
  t.equal((await post(world, '/v1/auth/logout', { refreshToken })).statusCode, 204)
  t.equal((await whoami(world, accessToken)).statusCode, 401)
  t.equal((await post(world, '/v1/auth/token', { refreshToken })).statusCode, 401)
  t.equal((await post(world, '/v1/auth/logout', { refreshToken: 'rt_live_x' })).statusCode, 204, 'says nothing')

  const elsewhere = await logIn()
  t.equal((await whoami(world, elsewhere.accessToken)).statusCode, 200)
  await world.sql`update core.login set ended_at = now(), ended_by = 'logout' where ended_at is null`
  await clock.advance(4_999)
  t.equal((await whoami(world, elsewhere.accessToken)).statusCode, 200)
  await clock.advance(1)
  t.equal((await whoami(world, elsewhere.accessToken)).statusCode, 401)
})

t.test('an access token is good for 15 minutes', async (t) => {
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock })
  const { logIn } = await citizen(world, 'ada@example.com')
  const { accessToken } = await logIn()
  await clock.advance(14 * 60_000)
  t.equal((await whoami(world, accessToken)).statusCode, 200)
  await clock.advance(60_000)
  t.equal((await whoami(world, accessToken)).statusCode, 401)
})

t.test("the owner's key makes the first login, a new password ends all logins", async (t) => {
  const world = await testApp(t)
  const { app, makeTenant, sql } = world
  const { tenantId } = await makeTenant()
  const userId = newId()
  await join(world, tenantId, userId, 'owner')
  const owner = await keyOf(world, tenantId, userId, ['*'])
  const set = (headers: object, payload: object) =>
    app.inject({ method: 'PUT', url: '/v1/auth/password', headers: { ...headers }, payload })
  const email = 'owner@example.com'

  const narrow = await keyOf(world, tenantId, userId, ['sessions:*'])
  t.match((await set(narrow.headers, { email, password })).json(), { status: 403, code: 'AUTH_PASSWORD_REFUSED' })
  t.match((await set(owner.headers, { email, password: 'short' })).json(), { errors: [{ pointer: '/password' }] })
  t.equal((await set(owner.headers, { email, password })).statusCode, 204)
  const tokens = (await post(world, '/v1/auth/token', { email, password })).json()
  t.match((await whoami(world, tokens.accessToken)).json(), { userId, role: 'owner', user: { email } })

  const better = 'staple battery horse correct'
  for (const currentPassword of [undefined, 'not it at all']) {
    const refused = await set(bearer(tokens.accessToken), { email, password: better, currentPassword })
    t.match(refused.json(), { status: 401, code: 'AUTH_CREDENTIALS_WRONG' })
  }
  const changed = await set(bearer(tokens.accessToken), { email, password: better, currentPassword: password })
  t.equal(changed.statusCode, 204)
  t.equal((await whoami(world, tokens.accessToken)).statusCode, 401)
  t.equal((await post(world, '/v1/auth/token', { refreshToken: tokens.refreshToken })).statusCode, 401)
  t.equal((await post(world, '/v1/auth/token', { email, password: better })).statusCode, 200)

  const [somebody, second] = [newId(), await makeTenant()]
  await join(world, second.tenantId, somebody, 'owner')
  const other = await keyOf(world, second.tenantId, somebody, ['*'])
  t.match((await set(other.headers, { email, password })).json(), { status: 409, code: 'AUTH_EMAIL_TAKEN' })
  await join(world, tenantId, somebody, 'viewer')
  const wider = await set(other.headers, { email: 'x@example.com', password })
  t.match(wider.json(), { code: 'AUTH_PASSWORD_REFUSED' }, "a key of one tenant makes no way into its member's others")
  t.match((await set(second.headers, { email, password })).json(), { code: 'AUTH_PASSWORD_REFUSED' }, 'no member')
  t.equal((await sql`select 1 from core.app_user`).length, 1)
  const audited = await sql`select actor_kind, actor_id, subject, tenant_id from audit.entry order by at`
  t.match(audited, [
    { actor_kind: 'key', actor_id: owner.id, subject: `user:${userId}`, tenant_id: tenantId },
    { actor_kind: 'user', actor_id: userId, subject: `user:${userId}` }
  ])
  t.equal(audited.length, 2)
})

t.test('what was begun with a password that another one replaces meanwhile comes to nothing', async (t) => {
  const world = await testApp(t)
  const { db, sql, clock, log, secrets } = world
  const { id, tenantId, logIn } = await citizen(world, 'ada@example.com')
  const { refreshToken } = await logIn()
  await sql`update core.app_user set version = version + 1`
  const late = await post(world, '/v1/auth/token', { refreshToken })
  t.match(late.json(), { code: 'AUTH_REFRESH_REFUSED' }, 'a login of another version, ended or not')
  await sql`delete from core.login`

  // Between reading the user and writing the answer lies the hash.
  let asked = 0
  const system: typeof db.system = async (work) => {
    if (++asked === 2) await sql`update core.app_user set version = version + 1`
    return await db.system(work)
  }
  const keys = { pepper: secrets.apiKeyPepper, userTokenKey: secrets.userTokenKey }
  const slow = createAuth({ db: { ...db, system }, clock, log, ...keys }).logins
  await t.rejects(slow.logIn('ada@example.com', password, '127.0.0.1'), { code: 'AUTH_CREDENTIALS_WRONG' })
  t.equal((await sql`select 1 from core.login`).length, 0)
  asked = 0
  const asking = { tenantId, actor: { kind: 'user', id } as const, from: '127.0.0.1' }
  const wanted = { email: 'eve@example.com', password: 'staple battery horse', current: password }
  await t.rejects(slow.setPassword(id, wanted, asking), { code: 'AUTH_CREDENTIALS_WRONG' })
  t.match(await sql`select email from core.app_user`, [{ email: 'ada@example.com' }])
  t.equal((await sql`select 1 from audit.entry`).length, 0)
})

t.test('an identity provider cannot name a user who logs in here', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { id, tenantId } = await citizen(world, 'ada@example.com')
  t.equal((await whoami(world, await idp.token({ sub: id }))).statusCode, 401)
  const sub = newId()
  await join(world, tenantId, sub, 'owner')
  const refused = await world.app.inject({
    method: 'PUT',
    url: '/v1/auth/password',
    headers: bearer(await idp.token({ sub })),
    payload: { email: 'bob@example.com', password }
  })
  t.match(refused.json(), { status: 403, code: 'AUTH_PASSWORD_REFUSED' }, 'and its users have no password here')
  const { headers } = await keyOf(world, tenantId, sub, ['*'])
  const set = (payload: object) =>
    world.app.inject({ method: 'PUT', url: '/v1/auth/password', headers: { ...headers }, payload })
  const byKey = await set({ email: 'bob@example.com', password })
  t.match(byKey.json(), { status: 403, code: 'AUTH_PASSWORD_REFUSED' }, 'nor by a key: it would lock them out')
  t.equal((await whoami(world, await idp.token({ sub }))).statusCode, 200)
})

t.test('whose token it is can be asked for without a membership, but not of a key', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { id, logIn } = await citizen(world, 'ada@example.com')
  const sub = newId()
  t.strictSame(await world.auth.userOf(await idp.token({ sub })), { userId: sub })
  t.strictSame(await world.auth.userOf((await logIn()).accessToken), { userId: id })
  const { key } = await world.makeTenant()
  for (const token of [key, undefined, 'x', await idp.token({ sub: id })]) {
    await t.rejects(world.auth.userOf(token), { code: 'AUTH_REQUIRED' })
  }
})

t.test('wrong passwords, tokens and keys are counted, right and merely late ones are not', async (t) => {
  const failed: object[] = []
  const limits: Limits = {
    authAllowed: async () => {},
    authFailed: async (who) => void failed.push(who),
    authBegin: async (who) => async (wrong) => void (wrong && failed.push(who)),
    take: async () => null,
    admit: async () => {}
  }
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock, auth: { limits } })
  const { logIn } = await citizen(world, 'ada@example.com')
  const { accessToken } = await logIn()
  const { key } = await world.makeTenant()
  await whoami(world, key)
  await clock.advance(16 * 60_000)
  t.equal((await whoami(world, accessToken)).statusCode, 401)
  t.strictSame(failed, [])
  await post(world, '/v1/auth/token', { email: 'Ada@example.com', password: 'not the password' })
  await post(world, '/v1/auth/token', { refreshToken: 'rt_live_x' })
  await whoami(
    world,
    key.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a'))
  )
  await whoami(world, `${accessToken}x`)
  t.strictSame(failed, [
    { ip: '127.0.0.1', account: 'ada@example.com' },
    { ip: '127.0.0.1' },
    { ip: '127.0.0.1' },
    { ip: '127.0.0.1' }
  ])
})

t.test('hashes tell passwords apart, however their letters are composed, and no hash is nobody', async (t) => {
  const umlaut = await hashPassword('ein schönes Passwort')
  t.equal(await checkPassword(umlaut, 'ein scho\u0308nes Passwort'), true)
  t.equal(await checkPassword(umlaut, 'ein schones Passwort'), false)
  t.equal(await checkPassword(null, 'ein schönes Passwort'), false)
})

t.test('so many passwords are checked at once, some wait in order, the rest are refused', async (t) => {
  const turn = inTurn(2, { waiting: 3, each: 3 })
  const running: (() => void)[] = []
  const ended: number[] = []
  const begin = (n: number) =>
    turn(() => new Promise<void>((resolve) => running.push(resolve))).then(() => void ended.push(n))
  const five = [1, 2, 3, 4, 5].map(begin)
  await t.rejects(begin(6), { code: 'AUTH_LOGIN_BUSY', status: 503 })
  t.equal(running.length, 2)
  for (let i = 0; i < 5; i++) {
    await until(() => running[i] !== undefined, `number ${i + 1} runs`)
    t.ok(running.length - ended.length <= 2)
    running[i]?.()
    await five[i]
  }
  t.strictSame(ended, [1, 2, 3, 4, 5])
  const again = begin(7)
  running[5]?.()
  await again
})

t.test('nobody takes the whole queue of passwords, by address or by account', async (t) => {
  const turn = inTurn(1, { waiting: 50, each: 4 })
  let ends = () => {}
  const first = turn(() => new Promise<void>((resolve) => (ends = resolve)), ['a'])
  const nothing = async () => {}
  const waiting = [1, 2, 3, 4].map((n) => turn(nothing, ['a', `b${n}`]))
  await t.rejects(turn(nothing, ['c', 'a']), { code: 'AUTH_LOGIN_BUSY' })
  const other = turn(nothing, ['c', 'b1'])
  ends()
  await Promise.all([first, ...waiting, other])
  await turn(nothing, ['a'])
})

t.test('a refresh token with one character changed names no login', async (t) => {
  const { make, read } = refreshTokens(new Secret('x'.repeat(43)))
  const claim = { loginId: newId(), generation: 7 }
  const token = make(claim).reveal()
  t.strictSame(read(token), claim)
  for (let i = 0; i < token.length - 1; i++) {
    t.equal(read(token.slice(0, i) + (token[i] === 'a' ? 'b' : 'a') + token.slice(i + 1)), null, `place ${i}`)
  }
  t.equal(refreshTokens(new Secret('y'.repeat(43))).read(token), null, 'made with another secret')
})
