import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { newId } from '#core/ids.ts'
import { createLog } from '#core/log.ts'
import { aclFile, createRedis, tenantKey } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { redisServer, withoutRedis } from '#test/support/redis-server.ts'

const skip = withoutRedis()
if (skip) t.comment(`the ACL is not tried against a real server: ${skip}`)

const [a, b] = [newId(), newId()]
const password = 'of-this-test-only'
const acl = aclFile([
  { name: 'agentos', password: new Secret(password) },
  { name: 'one', password: new Secret(password), tenantId: a }
])

t.test('the file holds no password and lets nobody in without one', async (t) => {
  t.notOk(acl.includes(password))
  t.match(acl, /^user default off\nuser agentos on #[0-9a-f]{64} resetkeys resetchannels ~tenant:\{\*\}:\* /)
  t.throws(() => aclFile([{ name: 'a on >x', password: new Secret('x') }]), /name/)
  t.throws(() => aclFile([{ name: 'a', password: new Secret('x'), tenantId: '*' }]), /tenant id/)
})

/** What a login of one tenant tries with `place`: a key and a channel. */
const withPlace = (place: string): [string, ...string[]][] => [
  ['GET', place],
  ['SET', place, '1'],
  ['DEL', place],
  ['XADD', `${place}:s`, '*', 'f', 'v'],
  ['XREAD', 'STREAMS', `${place}:s`, '0'],
  ['PUBLISH', place, 'hello'],
  ['EVAL', 'return redis.call("GET", KEYS[1])', '1', place],
  ['EVAL', `return redis.call("GET", "${place}")`, '0'],
  ['SUBSCRIBE', place],
  ['UNSUBSCRIBE', place]
]

const everybodys: [string, ...string[]][] = [
  ['SCAN', '0'],
  ['DBSIZE'],
  ['KEYS', '*'],
  ['RANDOMKEY'],
  ['FLUSHALL'],
  ['FLUSHDB'],
  ['SWAPDB', '0', '1'],
  ['CONFIG', 'GET', '*'],
  ['ACL', 'LIST'],
  ['ACL', 'SETUSER', 'two', 'on'],
  ['CLIENT', 'LIST'],
  ['CLIENT', 'TRACKING', 'ON', 'BCAST'],
  ['MONITOR'],
  ['INFO'],
  ['MEMORY', 'STATS'],
  ['PUBSUB', 'CHANNELS'],
  ['CLUSTER', 'GETKEYSINSLOT', '0', '10'],
  ['CLUSTER', 'COUNTKEYSINSLOT', '0'],
  ['SCRIPT', 'FLUSH'],
  ['FUNCTION', 'FLUSH'],
  ['SHUTDOWN', 'NOSAVE'],
  ['PSUBSCRIBE', '*'],
  ['PSUBSCRIBE', 'tenant:*']
]

t.test("a tenant's login reaches its own keys and channels, and nothing of another's", { skip }, async (t) => {
  const server = await redisServer(t, acl)
  const redis = server.connect({ username: 'one', password })
  const refusal = (command: [string, ...string[]]) =>
    redis.call(...command).then(
      () => 'allowed',
      (error: Error) => error.message
    )
  for (const command of withPlace(tenantKey(a, 'x'))) t.equal(await refusal(command), 'allowed', `own: ${command}`)
  const foreign = [
    ...withPlace(tenantKey(b, 'x')).filter(([name]) => name !== 'UNSUBSCRIBE'),
    ...withPlace('platform:x').filter(([name]) => name !== 'UNSUBSCRIBE'),
    ['PSUBSCRIBE', tenantKey(b, '*')] as [string, string]
  ]
  for (const command of [...foreign, ...everybodys]) {
    t.match(await refusal(command), /NOPERM|can't access|No permissions/i, `refused: ${command.join(' ')}`)
  }
  t.match(await server.connect().ping().catch(String), /NOAUTH/, 'nobody without a login')
})

t.test('the login of the servers does its work, and can neither list nor change the rest', { skip }, async (t) => {
  const server = await redisServer(t, acl)
  const url = new Secret(`redis://agentos:${password}@127.0.0.1:${server.port}`)
  const redis = createRedis({ url, clock: systemClock, log: createLog({ level: 'silent' }), commandMs: 5000 })
  t.teardown(() => redis.close())
  await redis.connect()
  t.match(await redis.count(tenantKey(a, 'limit'), 60_000), { used: 1 })
  t.match(await redis.count(tenantKey(a, 'limit'), 60_000), { used: 2 })
  t.match(await redis.read(tenantKey(a, 'limit')), { used: 2 })
  // Two that no transaction takes: the server says so before it looks at the ACL.
  const queued = everybodys.filter(([name]) => name !== 'SHUTDOWN' && name !== 'MONITOR')
  t.strictSame(await redis.permitted([...queued, ['GET', 'elsewhere'], ['PUBLISH', 'elsewhere', 'x']]), [])
  t.strictSame(await redis.permitted([['GET', tenantKey(a, 'x')]]), [`GET ${tenantKey(a, 'x')}`])
})

t.test('a server without the ACL is found out, and nothing is run for that', { skip }, async (t) => {
  const server = await redisServer(t)
  const url = new Secret(`redis://127.0.0.1:${server.port}`)
  const redis = createRedis({ url, clock: systemClock, log: createLog({ level: 'silent' }), commandMs: 5000 })
  t.teardown(() => redis.close())
  await redis.connect()
  await redis.count(tenantKey(a, 'limit'), 60_000)
  t.strictSame(await redis.permitted([['SCAN', '0'], ['FLUSHALL']]), ['SCAN 0', 'FLUSHALL'])
  t.match(await redis.read(tenantKey(a, 'limit')), { used: 1 }, 'the keys are still there')
})
