import t, { type Test } from 'tap'
import { testApp } from '#test/support/app.ts'
import type { LimitsHost } from '#test/support/limits-host.ts'
import { redisServer, withoutRedis } from '#test/support/redis-server.ts'
import { spawnServer } from '#test/support/server-process.ts'
import { until } from '#test/support/until.ts'
import { smallTable } from './support/limits.ts'

const skip = withoutRedis()
if (skip) t.comment(`shared counts are not tried: ${skip}`)

const LIMIT = 30
const few = { read: LIMIT, write: LIMIT, heavy: LIMIT, auth: LIMIT }
const table = { ...smallTable, plans: { pro: few }, address: { ...few, read: null } }

/** Two processes on one database, and how they answer. */
async function twoHosts(t: Test, redisUrl: string | null) {
  const base = await testApp(t)
  const told: LimitsHost = {
    appUrl: base.appUrl,
    systemUrl: base.systemUrl,
    secret: base.secret.reveal(),
    redisUrl,
    table
  }
  const hosts = [1, 2].map(() =>
    spawnServer(new URL(import.meta.resolve('#test/support/limits-host.ts')), [JSON.stringify(told)], {})
  )
  t.teardown(() => Promise.all(hosts.map((host) => host.kill())))
  const [a = '', b = ''] = await Promise.all(hosts.map((host) => host.ready))
  /** Statuses of so many requests. */
  const ask = async (url: string, headers: Record<string, string>, times: number) => {
    const counts: Record<number, number> = {}
    for (let i = 0; i < times; i++) {
      const { status } = await fetch(`${url}/v1/whoami`, { headers })
      counts[status] = (counts[status] ?? 0) + 1
    }
    return counts
  }
  const reach = async (url: string) => {
    const { checks } = (await (await fetch(`${url}/readyz?verbose`)).json()) as {
      checks: { limits: { detail: string } }
    }
    return checks.limits.detail
  }
  return { ...base, a, b, ask, reach }
}

t.test('the counts of two processes add up in Redis; while it is away each counts its own', { skip }, async (t) => {
  const redis = await redisServer(t)
  const { a, b, ask, reach, makeTenant } = await twoHosts(t, `redis://127.0.0.1:${redis.port}`)
  const one = await makeTenant()
  t.strictSame([await reach(a), await reach(b)], ['shared', 'shared'])
  t.strictSame(await ask(a, one.headers, 20), { 200: 20 })
  t.strictSame(await ask(b, one.headers, 20), { 200: LIMIT - 20, 429: 40 - LIMIT })
  t.strictSame(await ask(a, one.headers, 1), { 429: 1 })

  // Known to both before somebody guesses: from such an address no key is looked up that is new to a host.
  const other = await makeTenant()
  t.strictSame([await ask(a, other.headers, 1), await ask(b, other.headers, 1)], [{ 200: 1 }, { 200: 1 }])
  const guess = { authorization: 'Bearer ak_live_0123456789ab_guessed' }
  const { most } = smallTable.failures.address
  const guesses = [await ask(a, guess, most - 2), await ask(b, guess, 3)]
  t.strictSame(guesses[0], { 401: most - 2 })
  t.ok(guesses[1]?.[429], 'wrong credentials add up too')

  t.strictSame(await ask(a, other.headers, 19), { 200: 19 })
  await redis.kill()
  t.strictSame(await ask(b, other.headers, LIMIT - 1), { 200: LIMIT - 1 }, 'open: b has counted one of this tenant')
  t.strictSame(await ask(a, other.headers, 11), { 200: LIMIT - 20, 429: 1 }, 'a goes on where it was')
  t.strictSame([await reach(a), await reach(b)], ['local, Redis is away', 'local, Redis is away'])
  const closed = await ask(b, guess, most + 1)
  t.ok(closed[429], 'guessing is limited by what this host has seen')
  t.notOk(closed[200])

  await redis.restart()
  const third = await makeTenant()
  await until(async () => {
    await ask(a, third.headers, 1)
    await ask(b, third.headers, 1)
    return (await reach(a)) === 'shared' && (await reach(b)) === 'shared'
  }, 'both found it again')
})

t.test('without Redis two processes count each for itself, and say so', async (t) => {
  const { a, b, ask, reach, makeTenant } = await twoHosts(t, null)
  const one = await makeTenant()
  t.strictSame([await reach(a), await reach(b)], ['local', 'local'])
  t.strictSame(await ask(a, one.headers, LIMIT), { 200: LIMIT })
  t.strictSame(await ask(b, one.headers, LIMIT + 1), { 200: LIMIT, 429: 1 })
})
