import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { newId } from '#core/ids.ts'
import { createLog } from '#core/log.ts'
import { createRedis, platformKey, RedisAway, tenantKey } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { redisServer, withoutRedis } from '#test/support/redis-server.ts'
import { until } from '#test/support/until.ts'

const skip = withoutRedis()
if (skip) t.comment(`the client is not tried against a real server: ${skip}`)

t.test('a key is made of a tenant id and plain text, and of nothing else', async (t) => {
  const id = newId()
  t.equal(tenantKey(id, 'limit:read'), `tenant:{${id}}:limit:read`)
  t.equal(platformKey('limit:ip:::1'), 'platform:limit:ip:::1')
  t.throws(() => tenantKey(`${id}}:x`, 'y'), /tenant id/)
  t.throws(() => tenantKey(id, 'two words'), /ASCII/)
  t.throws(() => platformKey(''), /ASCII/)
})

t.test('a server that goes and comes back: told once each, no call waits for it', { skip }, async (t) => {
  const server = await redisServer(t)
  const lines: string[] = []
  const log = createLog({ destination: { write: (line: string) => void lines.push(line) } })
  const clock = new FakeClock()
  const redis = createRedis({ url: new Secret(`redis://127.0.0.1:${server.port}`), clock, log, commandMs: 5000 })
  t.teardown(() => redis.close())
  await redis.connect()
  t.equal(redis.up, true)
  t.match(await redis.count(platformKey('x'), 60_000), { used: 1 })

  await server.kill()
  await t.rejects(redis.count(platformKey('x'), 60_000), RedisAway)
  await t.rejects(redis.ping(), RedisAway, 'nobody asks again within a second')
  t.equal(redis.up, false)
  t.equal(lines.filter((line) => line.includes('Redis is away')).length, 1)

  await server.restart()
  await until(() => redis.up, 'it connects again by itself')
  t.match(await redis.count(platformKey('x'), 60_000), { used: 1 }, 'empty: it holds nothing that may not get lost')
  t.equal(lines.filter((line) => line.includes('Redis is back')).length, 1)
})

t.test('an address where nobody answers is away at once, and the password is in no line', async (t) => {
  const lines: string[] = []
  const log = createLog({ destination: { write: (line: string) => void lines.push(line) } })
  const url = new Secret('redis://agentos:hunter22@127.0.0.1:1')
  const redis = createRedis({ url, clock: systemClock, log })
  t.teardown(() => redis.close())
  await redis.connect()
  await t.rejects(redis.count(platformKey('x'), 60_000), RedisAway)
  t.equal(redis.up, false)
  t.equal(lines.length, 1)
  t.notMatch(lines.join(), /hunter22/)
})

t.test('a server that hangs costs one request its 100 ms, and the next ones nothing', { skip }, async (t) => {
  const server = await redisServer(t)
  const clock = new FakeClock()
  const log = createLog({ level: 'silent' })
  const redis = createRedis({ url: new Secret(`redis://127.0.0.1:${server.port}`), clock, log })
  t.teardown(() => redis.close())
  await redis.connect()
  const other = server.connect()
  await other.ping()
  void other.call('CLIENT', 'PAUSE', '60000', 'ALL').catch(() => {})
  await until(async () => {
    const answer = await redis.count(platformKey('x'), 60_000).catch(() => 'away')
    return answer === 'away'
  }, 'it hangs')
  const error = await redis.ping().catch((thrown) => thrown)
  t.equal(error.cause, 'it did not answer a moment ago', 'it was not even asked')
})
