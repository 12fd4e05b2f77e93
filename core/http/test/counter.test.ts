import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { SharedCounter } from '#core/http/limits/counter.ts'
import { createLog } from '#core/log.ts'
import { createRedis, platformKey } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { type RedisServer, redisServer, withoutRedis } from '#test/support/redis-server.ts'
import { until } from '#test/support/until.ts'

const skip = withoutRedis()
if (skip) t.comment(`shared counts are not tried: ${skip}`)

const key = platformKey('x')

/** What one host counts with. */
async function host(t: Test, { port }: RedisServer) {
  const url = new Secret(`redis://127.0.0.1:${port}`)
  const log = createLog({ level: 'silent' })
  const redis = createRedis({ url, clock: systemClock, log, commandMs: 5000 })
  t.teardown(() => redis.close())
  await redis.connect()
  return { redis, counter: new SharedCounter(redis, systemClock) }
}

t.test('a Redis that comes back empty does not set a host back to zero', { skip }, async (t) => {
  const server = await redisServer(t)
  const { redis, counter } = await host(t, server)
  const other = await host(t, server)
  for (let n = 1; n <= 5; n++) t.match(await counter.add(key, 60_000), { used: n })
  await server.kill()
  t.match(await counter.add(key, 60_000), { used: 6 })
  await server.restart()
  await until(() => redis.up && other.redis.up, 'both are connected again')
  t.match(await counter.read(key), { used: 6 })
  t.match(await counter.add(key, 60_000), { used: 7 })
  t.match(await redis.read(key), { used: 1 }, 'Redis itself knows of one')
  for (let n = 2; n <= 8; n++) t.match(await other.counter.add(key, 60_000), { used: n }, 'what others saw, they saw')
  t.match(await counter.add(key, 60_000), { used: 9 }, 'the count of all, as soon as it is the larger one')
})

t.test('a window ends for every host when it ends in Redis, which is when clients come again', { skip }, async (t) => {
  const server = await redisServer(t)
  const first = await host(t, server)
  const late = await host(t, server)
  await first.counter.add(key, 1500)
  await until(async () => (await first.redis.read(key)).resetMs < 1000, 'a third of the window is over')
  for (let n = 2; n <= 4; n++) t.match(await late.counter.add(key, 1500), { used: n })
  await until(async () => (await first.redis.read(key)).used === 0, 'the window is over')
  t.match(await late.counter.read(key), { used: 0 })
  t.match(await late.counter.add(key, 1500), { used: 1 })
})
