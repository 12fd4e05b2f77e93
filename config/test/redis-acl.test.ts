import t from 'tap'
import { newId } from '#core/ids.ts'
import { redisServer, withoutRedis } from '#test/support/redis-server.ts'
import { runNode } from '#test/support/run-node.ts'

async function run(args: string[], env: Record<string, string> = {}) {
  const program = runNode(t, 'config/redis-acl.ts', args, env)
  const { code } = await program.ended
  return { code, out: program.stdout(), err: program.stderr() }
}

t.test('the file takes the login of REDIS_URL and shows no password', async (t) => {
  const { code, out, err } = await run([], { REDIS_URL: 'redis://runner:hunter%2022@redis:6379' })
  t.equal(code, 0)
  t.match(out, /^user default off\nuser runner on #[0-9a-f]{64} /)
  t.notMatch(`${out}${err}`, /hunter/)
})

t.test('without REDIS_URL a password is made and told once, and a server lets it in', async (t) => {
  const tenant = newId()
  const { out, err } = await run(['--tenant', tenant])
  const [own, tenants] = [...err.matchAll(/shown this once: (\S+)/g)].map(([, password]) => password ?? '')
  t.match(err, `REDIS_URL=redis://agentos:${own}@<host>:6379`)
  const skip = withoutRedis()
  if (skip) return t.comment(`not tried against a real server: ${skip}`)
  const server = await redisServer(t, out)
  const ask = (username: string, password = '') =>
    server
      .connect({ username, password })
      .get(`tenant:{${tenant}}:x`)
      .catch((error) => error.message)
  t.equal(await ask('agentos', own), null)
  t.equal(await ask(`tenant-${tenant}`, tenants), null)
  t.match(await ask('agentos', tenants), /WRONGPASS|NOAUTH/)
})

t.test('what it cannot use is told with the usage, and nothing is printed', async (t) => {
  for (const [args, env, why] of [
    [['--tenant', '*'], {}, /--tenant takes the id of a tenant/],
    [['--tenants'], {}, /Unknown option/],
    [[], { REDIS_URL: 'redis://:hunter22@redis' }, /names no login/],
    [[], { REDIS_URL: 'http://redis' }, /REDIS_URL: its value \(not shown\)/]
  ] as [string[], Record<string, string>, RegExp][]) {
    const { code, out, err } = await run(args, env)
    t.equal(code, 1)
    t.equal(out, '')
    t.match(err, why)
    t.match(err, 'Usage:')
  }
})
