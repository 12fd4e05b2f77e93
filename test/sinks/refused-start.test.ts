import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { testCluster } from '#test/support/cluster.ts'
import { runNode } from '#test/support/run-node.ts'
import { searchFiles } from './support/places.ts'
import { Search } from './support/search.ts'

t.test('a server that cannot start says why without its secrets', async (t) => {
  const password = `pass-${randomBytes(24).toString('base64url')}`
  const refused = new URL(await testCluster())
  refused.password = password
  const cases: Record<string, string>[] = [
    { DATABASE_URL: refused.href },
    { DATABASE_URL: `postgres://agentos:${password} @127.0.0.1:1/agentos` },
    { AGENTOS_SECRET: password },
    { VAULT_KEKS: `2:${password}` },
    { REDIS_URL: `http://agentos:${password}@127.0.0.1:1` }
  ]
  for (const env of cases) {
    const home = await mkdtemp(join(tmpdir(), 'agentos-sinks-'))
    const server = runNode(t, 'config/main.ts', [], { AGENTOS_HOME: home, LOG_LEVEL: 'trace', PORT: '0', ...env })
    t.match(await server.ended, { code: 1 }, Object.keys(env).join())
    const search = new Search({ password })
    t.strictSame(search.in('stdout', server.stdout()), [])
    t.strictSame(search.in('stderr', server.stderr()), [])
    t.match(server.stderr(), /agentos cannot start: /)
    t.strictSame((await searchFiles(home, search, [])).hits, [])
    await rm(home, { recursive: true, force: true })
  }
})
