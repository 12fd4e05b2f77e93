import { createHmac, generateKeyPairSync } from 'node:crypto'
import { exportSPKI, importJWK, type JWTPayload, SignJWT } from 'jose'
import t from 'tap'
import { foreignUserId } from '#core/auth/jwt/verify.ts'
import { newId } from '#core/ids.ts'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { AUDIENCE, bearer, identityProvider, join } from './support.ts'

const now = () => Math.floor(Date.now() / 1000)
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

t.test('a token of the identity provider is worth what membership says, in the tenant that is named', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { app, makeTenant } = world
  const [a, b, c] = [await makeTenant(), await makeTenant(), await makeTenant()]
  const sub = newId()
  const headers = bearer(await idp.token({ sub }))
  const ask = (more: object = {}) => app.inject({ url: '/v1/whoami', headers: { ...headers, ...more } })

  t.match((await ask()).json(), { status: 403, code: 'AUTH_NO_MEMBERSHIP' })
  world.auth.forgetUser(sub)
  await join(world, a.tenantId, sub, 'member')
  t.match((await ask()).json(), {
    tenantId: a.tenantId,
    keyId: null,
    userId: sub,
    role: 'member',
    user: { id: sub, email: null },
    memberships: [{ tenantId: a.tenantId, slug: a.slug, role: 'member' }]
  })
  await join(world, b.tenantId, sub, 'viewer')
  world.auth.forgetUser(sub)
  t.match((await ask()).json(), {
    status: 400,
    code: 'AUTH_TENANT_REQUIRED',
    tenants: [{ tenantId: a.tenantId }, { tenantId: b.tenantId, slug: b.slug }]
  })
  for (const named of [b.tenantId, b.tenantId.toUpperCase(), b.slug]) {
    t.match((await ask({ 'agentos-tenant': named })).json(), { tenantId: b.tenantId, role: 'viewer' })
  }
  const refusals = new Set<string>()
  for (const named of [c.tenantId, c.slug, newId(), 'nobody', "' or true --"]) {
    const { requestId: _, ...refusal } = (await ask({ 'agentos-tenant': named })).json()
    t.match(refusal, { status: 403, code: 'AUTH_TENANT_MISMATCH' })
    refusals.add(JSON.stringify(refusal))
  }
  t.equal(refusals.size, 1, 'absent and foreign tenants are one answer')
})

t.test('a tenant claim narrows a token and opens nothing', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { app, makeTenant } = world
  const [a, b, c] = [await makeTenant(), await makeTenant(), await makeTenant()]
  const sub = newId()
  await join(world, a.tenantId, sub, 'member')
  await join(world, b.tenantId, sub, 'member')
  const ask = async (claims: JWTPayload, more: object = {}) =>
    (
      await app.inject({ url: '/v1/whoami', headers: { ...bearer(await idp.token({ sub, ...claims })), ...more } })
    ).json()
  t.match(await ask({ tenant: a.slug }), { tenantId: a.tenantId })
  t.match(await ask({ app_metadata: { tenant_id: b.tenantId } }), { tenantId: b.tenantId })
  for (const named of [c.tenantId, c.slug, newId()]) {
    t.match(await ask({ tenant: named }), { status: 403, code: 'AUTH_TENANT_MISMATCH' }, 'no membership')
  }
  t.match(await ask({ tenant: a.slug }, { 'agentos-tenant': b.slug }), { code: 'AUTH_TENANT_MISMATCH' })
  t.match(await ask({ tenant: 7 }), { status: 401 })
})

t.test('whatever is wrong with a token, the answer is one, and the log says what it was', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { app, makeTenant, lines } = world
  const { tenantId } = await makeTenant()
  const sub = newId()
  await join(world, tenantId, sub, 'owner')
  const good = await idp.token({ sub })
  const iss = idp.issuer.issuer
  const claims = { iss, aud: AUDIENCE, sub, iat: now(), exp: now() + 600 }
  const header = { alg: 'ES256', typ: 'at+jwt', kid: 'k1' }
  // HS256 keyed with the public key, as a verifier would take it that believes the token's alg.
  const publicKey = (await importJWK(idp.jwk, 'ES256', { extractable: true })) as Parameters<typeof exportSPKI>[0]
  const head = `${part({ ...header, alg: 'HS256' })}.${part(claims)}`
  const confused = `${head}.${createHmac('sha256', await exportSPKI(publicKey))
    .update(head)
    .digest('base64url')}`
  const { privateKey: thief } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [h = '', p = '', s = ''] = good.split('.')

  const bad: Record<string, [token: string, log: RegExp]> = {
    'another issuer': [await idp.token({ sub, iss: 'https://evil.example' }), /unknown issuer/],
    'alg none': [`${part({ ...header, alg: 'none' })}.${part(claims)}.`, /token refused/],
    'HS256 with the public key': [confused, /token refused: "alg"/],
    'a key that is not theirs': [
      await new SignJWT(claims).setProtectedHeader(header).sign(thief),
      /token refused: signature/
    ],
    'one character changed': [`${h}.${p}.${s[0] === 'A' ? 'B' : 'A'}${s.slice(1)}`, /token refused: signature/],
    'another payload': [`${h}.${part({ ...claims, sub: newId() })}.${s}`, /token refused: signature/],
    expired: [await idp.token({ sub, exp: now() - 61 }), /token refused: "exp"/],
    'not yet': [await idp.token({ sub, nbf: now() + 120 }), /token refused: "nbf"/],
    'issued too long ago': [await idp.token({ sub, iat: now() - 25 * 3600 }), /token refused: "iat"/],
    'another audience': [await idp.token({ sub, aud: 'https://else.example' }), /token refused: unexpected "aud"/],
    'another typ': [await idp.token({ sub }, { typ: 'JWT' }), /token refused: unexpected "typ"/],
    'an unknown kid': [await idp.token({ sub }, { kid: 'k2' }), /token refused: no applicable key/],
    'no kid': [await idp.token({ sub }, { kid: undefined }), /without a kid/],
    'a jku': [await idp.token({ sub }, { jku: `${iss}/jwks.json` }), /header jku/],
    'an x5u': [await idp.token({ sub }, { x5u: `${iss}/cert` }), /header x5u/],
    'a jwk': [await idp.token({ sub }, { jwk: idp.jwk }), /header jwk/],
    'no exp': [await idp.token({ sub, exp: undefined }), /missing required "exp"/],
    'no sub': [await idp.token({ sub: undefined }), /missing required "sub"/],
    oversized: [await idp.token({ sub, pad: 'x'.repeat(8192) }), /oversized/],
    'no token': ['a.b.c', /malformed token/]
  }
  t.equal((await app.inject({ url: '/v1/whoami', headers: bearer(good) })).statusCode, 200)
  const answers = new Set<string>()
  for (const [what, [token, log]] of Object.entries(bad)) {
    const seen = lines.length
    const answer = await app.inject({ url: '/v1/whoami', headers: bearer(token) })
    const { requestId: _, ...problem } = answer.json()
    t.match(problem, { status: 401, code: 'AUTH_REQUIRED' }, what)
    answers.add(JSON.stringify(problem))
    t.ok(
      lines.slice(seen).some((line) => log.test(JSON.parse(line).reason ?? '')),
      `${what}: ${log}`
    )
  }
  t.equal(answers.size, 1)
  t.notOk(lines.join('').includes(s), 'no log line holds a token')
})

t.test('a crit header is refused before any key is looked for', async (t) => {
  const idp = await identityProvider(t)
  const { app } = await testApp(t, { auth: { issuer: idp.issuer } })
  const claims = { iss: idp.issuer.issuer, aud: AUDIENCE, sub: newId(), iat: now(), exp: now() + 60 }
  const token = `${part({ alg: 'ES256', typ: 'at+jwt', kid: 'k1', crit: ['x'], x: 1 })}.${part(claims)}.AAAA`
  t.equal((await app.inject({ url: '/v1/whoami', headers: bearer(token) })).statusCode, 401)
  t.equal(idp.asked(), 0)
})

t.test('a provider that is away is 503, asked for once by many, and known keys go on', async (t) => {
  const idp = await identityProvider(t)
  const world = await testApp(t, { auth: { issuer: idp.issuer } })
  const { tenantId } = await world.makeTenant()
  const sub = newId()
  await join(world, tenantId, sub, 'viewer')
  const token = await idp.token({ sub })
  const whoami = async (text: string) =>
    (await world.app.inject({ url: '/v1/whoami', headers: bearer(text) })).statusCode
  t.equal(await whoami(token), 200)
  idp.goAway()
  t.equal(await whoami(token), 200, 'its keys are kept')
  for (let i = 0; i < 5; i++) t.equal(await whoami(await idp.token({ sub }, { kid: `k${i + 2}` })), 401)
  t.equal(idp.asked(), 1, 'unknown kids do not make us ask again and again')

  const other = await identityProvider(t)
  other.goAway()
  const lost = await testApp(t, { auth: { issuer: other.issuer } })
  for (let i = 0; i < 3; i++) {
    const answer = await lost.app.inject({ url: '/v1/whoami', headers: bearer(await other.token()) })
    t.match(answer.json(), { status: 503, code: 'AUTH_ISSUER_UNAVAILABLE' })
  }
  t.equal(other.asked(), 1)
})

t.test('a Supabase secret signs HS256 for its issuer and nothing else does', async (t) => {
  const secret = 'super-secret-jwt-token-with-at-least-32-characters-long'
  const issuer = 'https://ref.supabase.co/auth/v1'
  const keys = { hmac: new Secret(secret) }
  const world = await testApp(t, { auth: { issuer: { issuer, audience: 'authenticated', typ: 'JWT', keys } } })
  const { tenantId } = await world.makeTenant()
  const sub = newId()
  await join(world, tenantId, sub, 'member')
  const sign = (alg: string, iss = issuer) =>
    new SignJWT({ iss, aud: 'authenticated', sub, iat: now(), exp: now() + 60 })
      .setProtectedHeader({ alg, typ: 'JWT' })
      .sign(new TextEncoder().encode(secret))
  const status = async (token: string) =>
    (await world.app.inject({ url: '/v1/whoami', headers: bearer(token) })).statusCode
  t.equal(await status(await sign('HS256')), 200)
  t.equal(await status(await sign('HS384')), 401)
  t.equal(await status(await sign('HS256', 'agentos')), 401, 'not ours')
})

t.test("subjects that are no uuid become one of their issuer's own", async (t) => {
  const id = foreignUserId('https://a.example', 'auth0|5f7c8ec7c33c6c004bbafe82')
  t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.not(foreignUserId('https://b.example', 'auth0|5f7c8ec7c33c6c004bbafe82'), id)
  const uuid = newId()
  t.equal(foreignUserId('https://a.example', uuid), uuid)
})

t.test('a role that changes and a member who goes are noticed within 5 s by a token that is still good', async (t) => {
  const idp = await identityProvider(t)
  const clock = new FakeClock(Date.now())
  const world = await testApp(t, { clock, auth: { issuer: idp.issuer } })
  const { app, sql, makeTenant } = world
  const { tenantId } = await makeTenant()
  const sub = newId()
  await join(world, tenantId, sub, 'admin')
  const headers = bearer(await idp.token({ sub }))
  const make = async () =>
    (
      await app.inject({ method: 'POST', url: '/v1/keys', headers, payload: { name: 'x', scopes: ['keys:read'] } })
    ).json()
  t.match(await make(), { userId: sub })
  await sql`update core.member set role = 'viewer' where user_id = ${sub}`
  await clock.advance(4_999)
  t.match(await make(), { userId: sub })
  await clock.advance(1)
  t.match(await make(), { status: 403, permission: 'keys:write' })
  await sql`delete from core.member where user_id = ${sub}`
  await clock.advance(5_000)
  t.match(await make(), { status: 403, code: 'AUTH_NO_MEMBERSHIP' })
})
