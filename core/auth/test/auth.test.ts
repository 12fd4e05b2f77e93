import t from 'tap'
import { createAuth } from '#core/auth/auth.ts'
import { newKey, parseKey } from '#core/auth/key.ts'
import { covers, permits, unknownScopes } from '#core/auth/scopes.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

t.test('a key with one changed character is refused before any lookup', async (t) => {
  const { key, prefix, secret } = newKey()
  const text = key.reveal()
  t.strictSame(parseKey(text), { prefix, secret })
  for (let i = 0; i < text.length; i++) {
    t.equal(parseKey(text.slice(0, i) + (text[i] === 'a' ? 'b' : 'a') + text.slice(i + 1)), null, `place ${i}`)
  }
  for (const bad of ['', 'ak_live_', `${text} `, text.slice(0, -1), text.toUpperCase()]) t.equal(parseKey(bad), null)
})

t.test('scopes: a family covers its permissions, a star all but the platform', async (t) => {
  t.ok(covers(['sessions:*'], 'sessions:read') && covers(['*'], 'sessions:read') && covers(['*'], 'keys:*'))
  t.notOk(covers(['sessions:read'], 'sessions:*') || covers(['sessions:*'], '*') || covers(['*'], 'platform:rooms'))
  t.notOk(covers(['sessions:*'], 'sessionsx:read') || covers([], 'sessions:read'))
  t.ok(permits({ tenantId: TENANT_ZERO, scopes: ['platform:*'] }, 'platform:rooms'))
  t.notOk(permits({ tenantId: '00000000-0000-7000-8000-000000000001', scopes: ['platform:*'] }, 'platform:rooms'))
  t.strictSame(unknownScopes(['*', 'keys:*', 'keys:read', 'keys:fly', 'cats:*'], ['keys:read']), [3, 4])
})

t.test('a key is believed for 5 s; a revocation elsewhere holds after that, here at once', async (t) => {
  const clock = new FakeClock()
  const { auth, db, sql, secrets, log, makeTenant } = await testApp(t, { clock })
  const other = createAuth({ db, clock, pepper: secrets.apiKeyPepper, userTokenKey: secrets.userTokenKey, log })
  t.teardown(() => other.settle())
  const { tenantId, key } = await makeTenant()
  const prefix = key.split('_')[2] ?? ''
  await Promise.all([auth.authenticate(key), other.authenticate(key)])
  await sql`update core.api_key set revoked_at = now() where tenant_id = ${tenantId}`
  auth.forget(prefix)
  await t.rejects(auth.authenticate(key), { code: 'AUTH_REQUIRED' })
  await clock.advance(4_999)
  t.equal((await other.authenticate(key)).tenantId, tenantId)
  await clock.advance(1)
  await t.rejects(other.authenticate(key), { code: 'AUTH_REQUIRED' })
})

t.test('a database that was away is not remembered as an absent key', async (t) => {
  const { auth, db, makeTenant } = await testApp(t)
  const { key, tenantId } = await makeTenant()
  const broken = createAuth({
    db: { ...db, system: () => Promise.reject(new Error('away')) },
    clock: new FakeClock(),
    pepper: newKey().key,
    userTokenKey: newKey().key,
    log: (await testApp(t)).log
  })
  await t.rejects(broken.authenticate(key), /away/)
  t.equal((await auth.authenticate(key)).tenantId, tenantId)
})

t.test('another pepper makes every key of the table useless', async (t) => {
  const { db, clock, log, makeTenant } = await testApp(t)
  const { key } = await makeTenant()
  const stolen = createAuth({ db, clock, pepper: newKey().key, userTokenKey: newKey().key, log })
  await t.rejects(stolen.authenticate(key), { code: 'AUTH_REQUIRED' })
})

t.test('the last use is noted off the request path, at most once a minute', async (t) => {
  const clock = new FakeClock()
  const { auth, sql, makeTenant } = await testApp(t, { clock })
  const { tenantId, key } = await makeTenant()
  const lastUse = async () =>
    (await sql`select last_used_at as at from core.api_key where tenant_id = ${tenantId}`)[0]?.at
  t.equal(await lastUse(), null)
  await auth.authenticate(key)
  await auth.settle()
  const first = await lastUse()
  t.ok(first instanceof Date)
  await clock.advance(6_000) // the cache is read again, the database's minute is not over
  await auth.authenticate(key)
  await auth.settle()
  t.strictSame(await lastUse(), first)
  await sql`update core.api_key set last_used_at = now() - interval '61 seconds' where tenant_id = ${tenantId}`
  await clock.advance(6_000)
  await auth.authenticate(key)
  await auth.settle()
  t.ok((await lastUse()) >= first)
})
