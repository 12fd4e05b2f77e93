import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { Doctor } from '#core/doctor/doctor.ts'
import { createLog } from '#core/log.ts'
import { aclFile, addRedisChecks, createRedis } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { redisServer, withoutRedis } from '#test/support/redis-server.ts'

const skip = withoutRedis()
if (skip) t.comment(`the line is not tried against a real server: ${skip}`)

const password = 'of-this-test-only'
const acl = aclFile([{ name: 'agentos', password: new Secret(password) }])

/** The line that an operator sees. */
async function line(t: Test, url: string | null) {
  const log = createLog({ level: 'silent' })
  const redis = url === null ? null : createRedis({ url: new Secret(url), clock: systemClock, log })
  t.teardown(() => redis?.close())
  await redis?.connect()
  const doctor = new Doctor({ clock: systemClock })
  addRedisChecks(doctor, redis)
  return (await doctor.run('tenancy'))?.checks[0]
}

t.test('without Redis there is nothing to look at', async (t) => {
  t.match(await line(t, null), { ok: 'unknown', detail: /REDIS_URL/ })
})

t.test('the line is green with our ACL, and red where one command too many is allowed', { skip }, async (t) => {
  const login = `agentos:${password}@127.0.0.1`
  const good = await redisServer(t, acl)
  t.match(await line(t, `redis://${login}:${good.port}`), { ok: true })

  for (const [more, shown] of [
    ['+scan', /may run SCAN 0$/],
    ['+keys', /KEYS \*/],
    ['+config|get', /CONFIG GET \*/],
    ['+cluster|getkeysinslot', /may run CLUSTER GETKEYSINSLOT 0 1$/],
    ['~*', /GET agentos-doctor/],
    ['&*', /PUBLISH agentos-doctor/]
  ] as const) {
    const weak = await redisServer(t, acl.trimEnd().concat(` ${more}\n`))
    t.match(
      await line(t, `redis://${login}:${weak.port}`),
      { name: 'redis.acl', ok: false, detail: shown, fix: /redis:acl/ },
      more
    )
    await weak.kill()
  }
})

t.test(
  'the line is red without any ACL, for a login that may do nothing, and while nobody answers',
  { skip },
  async (t) => {
    const open = await redisServer(t)
    t.match(await line(t, `redis://127.0.0.1:${open.port}`), { ok: false, detail: /may run SCAN 0, KEYS \*, DBSIZE/ })
    const useless = await redisServer(t, acl.replace('+@all', '+@connection +multi +exec').replace(/ \+eval.*/, ''))
    t.match(await line(t, `redis://agentos:${password}@127.0.0.1:${useless.port}`), {
      ok: false,
      detail: /may not read its own keys/
    })
    await open.kill()
    t.match(await line(t, `redis://127.0.0.1:${open.port}`), { ok: false, detail: /Redis does not answer/ })
  }
)
