import t from 'tap'
import { z } from 'zod'
import type { Doctor } from '#core/doctor/doctor.ts'
import type { AppError } from '#core/errors.ts'
import { LocalCounter } from '#core/http/limits/counter.ts'
import { RateLimits } from '#core/http/limits/index.ts'
import { createLog } from '#core/log.ts'
import { definePlugin } from '#core/plugin.ts'
import { createRedis, platformKey } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { smallTable } from './support/limits.ts'

const room = definePlugin({
  name: 'probe',
  needs: ['db'],
  register(app) {
    const config = { permission: 'authenticated' }
    app.get('/v1/things', { config }, async () => ({ ok: true }))
    app.post('/v1/things', { config, schema: { body: z.strictObject({}) } }, async () => ({ ok: true }))
    app.post('/v1/exports', { config: { ...config, limit: 'heavy' } }, async () => ({ ok: true }))
    app.get('/v1/open', { config: { permission: 'public' } }, async () => ({ ok: true }))
  }
})

const minute = 60_000

async function limitedApp() {
  const clock = new FakeClock()
  const parts = ({ db }: { db: RateLimitsDb }) => ({ limits: new RateLimits({ db, clock, table: smallTable }) })
  return { ...(await testApp(t, { rooms: [{ room }], clock, parts })), clock }
}
type RateLimitsDb = ConstructorParameters<typeof RateLimits>[0]['db']

t.test('a tenant has so many requests a minute of each class, and every answer says how many are left', async (t) => {
  const { app, clock, makeTenant } = await limitedApp()
  const [one, other] = [await makeTenant(), await makeTenant()]
  const get = (who = one) => app.inject({ url: '/v1/things', headers: who.headers })

  const first = await get()
  t.equal(first.statusCode, 200)
  t.match(first.headers, {
    'ratelimit-policy': '"read";q=3;w=60',
    ratelimit: '"read";r=2;t=60',
    'x-ratelimit-limit': '3',
    'x-ratelimit-remaining': '2',
    'x-ratelimit-reset': '60'
  })
  await clock.advance(20_000)
  t.equal((await get()).statusCode, 200)
  t.equal((await get()).headers.ratelimit, '"read";r=0;t=40')

  const refused = await get()
  t.equal(refused.statusCode, 429)
  t.match(refused.headers, {
    'content-type': 'application/problem+json',
    'retry-after': '40',
    ratelimit: '"read";r=0;t=40',
    'x-ratelimit-remaining': '0'
  })
  t.match(refused.json(), {
    code: 'RATE_LIMITED',
    kind: 'read',
    limit: 3,
    used: 3,
    resetsAt: new Date(clock.now() + 40_000).toISOString()
  })

  t.equal((await get(other)).statusCode, 200, 'another tenant has its own')
  const post = () => app.inject({ method: 'POST', url: '/v1/things', headers: one.headers, payload: {} })
  t.equal((await post()).headers['ratelimit-policy'], '"write";q=2;w=60', 'another class has its own')
  const heavy = () => app.inject({ method: 'POST', url: '/v1/exports', headers: one.headers })
  t.strictSame([(await heavy()).statusCode, (await heavy()).statusCode], [200, 429], 'a route may name its class')

  await clock.advance(39_999)
  t.equal((await get()).statusCode, 429)
  await clock.advance(1)
  t.equal((await get()).headers.ratelimit, '"read";r=2;t=60', 'the next window')
})

t.test('a plan sets the numbers; a new plan holds within half a minute; one without limits says nothing', async (t) => {
  const { app, clock, sql, makeTenant } = await limitedApp()
  const free = await makeTenant({ plan: 'free' })
  const get = () => app.inject({ url: '/v1/things', headers: free.headers })
  t.equal((await get()).headers['x-ratelimit-limit'], '1', 'a plan that the table does not name has the least')
  t.equal((await get()).statusCode, 429)
  await sql`update core.tenants set plan = 'enterprise' where tenant_id = ${free.tenantId}`
  await clock.advance(30_000)
  const answer = await get()
  t.equal(answer.statusCode, 200)
  t.notHas(answer.headers, { ratelimit: String })
})

t.test('who is not known counts by address, on paths that are not there too; probes are free', async (t) => {
  const { app, makeTenant } = await limitedApp()
  const get = (url: string, remoteAddress = '192.0.2.1') => app.inject({ url, remoteAddress })
  for (let i = 0; i < 3; i++) t.equal((await get('/v1/open')).statusCode, 200)
  t.equal((await get('/v1/nothing')).statusCode, 404)
  t.equal((await get('/v1/open')).statusCode, 429)
  t.equal((await get('/v1/nothing')).statusCode, 429)
  t.equal((await get('/livez')).statusCode, 200)
  t.notHas((await get('/readyz')).headers, { ratelimit: String })
  t.equal((await get('/v1/open', '192.0.2.2')).statusCode, 200)
  for (let i = 0; i < 4; i++) await get('/v1/open', `2001:db8::${i}`)
  t.equal((await get('/v1/open', '2001:db8::ffff')).statusCode, 429, 'a /64 is one address')
  const { headers } = await makeTenant()
  t.equal((await app.inject({ url: '/v1/things', headers, remoteAddress: '192.0.2.1' })).statusCode, 200)
})

t.test('wrong credentials are limited by address, by account there, and by account from everywhere', async (t) => {
  const { app, clock } = await limitedApp()
  const limits = app.limits
  if (!limits) throw new Error('no limits')
  const allowed = (ip: string, account?: string) =>
    limits.authAllowed({ ip, ...(account === undefined ? {} : { account }) }).then(
      () => 'yes',
      (error: AppError) => `${error.status} ${error.code} ${error.retryAfterMs}`
    )
  const fail = (ip: string, account: string) => limits.authFailed({ ip, account })

  await fail('192.0.2.1', 'ann@example.com')
  t.equal(await allowed('192.0.2.1', 'ann@example.com'), 'yes')
  await fail('192.0.2.1', 'Ann@example.com')
  t.equal(await allowed('192.0.2.1', 'ann@example.com'), '429 RATE_LIMITED 900000')
  t.equal(await allowed('192.0.2.1', 'bob@example.com'), 'yes', 'another account at this address')
  t.equal(await allowed('192.0.2.9', 'ann@example.com'), 'yes', 'nobody locks an account out from one address')
  await fail('192.0.2.2', 'ann@example.com')
  t.equal(await allowed('192.0.2.9', 'ann@example.com'), '429 RATE_LIMITED 900000', 'from many addresses')

  for (const account of ['b', 'c', 'd', 'e', 'f']) await fail('192.0.2.3', account)
  t.equal(await allowed('192.0.2.3'), '429 RATE_LIMITED 60000', 'many accounts at one address')
  await clock.advance(minute)
  t.equal(await allowed('192.0.2.3'), 'yes')
  await clock.advance(14 * minute)
  t.equal(await allowed('192.0.2.1', 'ann@example.com'), 'yes')
})

t.test('a flood of keys does not grow the process, and costs the oldest their count', async (t) => {
  const counter = new LocalCounter(new FakeClock())
  const first = platformKey('first')
  await counter.add(first, minute)
  for (let i = 0; i < 50_000; i++) await counter.add(platformKey(`k${i}`), minute)
  t.strictSame(await counter.read(first), { used: 0, resetMs: 0 })
  t.match(await counter.read(platformKey('k49999')), { used: 1 })
})

t.test('the doctor says whether requests are counted, and turns red without a table', async (t) => {
  const line = async (app: { doctor: Doctor }) =>
    (await app.doctor.run('edge'))?.checks.find(({ name }) => name === 'limits.shared')
  t.match(await line((await limitedApp()).app), { ok: true, detail: /counts alone: REDIS_URL is not set/ })
  t.match(await line((await testApp(t)).app), { ok: false, detail: 'nothing is limited' })
  const [clock, log] = [new FakeClock(), createLog({ level: 'silent' })]
  const redis = createRedis({ url: new Secret('redis://127.0.0.1:1'), clock, log })
  t.teardown(() => redis.close())
  await redis.connect()
  const parts = ({ db }: { db: RateLimitsDb }) => ({ limits: new RateLimits({ db, clock, table: smallTable, redis }) })
  t.match(await line((await testApp(t, { parts })).app), { ok: false, detail: /Redis does not answer/, fix: /Redis/ })
})
