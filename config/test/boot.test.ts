import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { testSecret } from '#test/support/cluster.ts'
import { emptyDb } from '#test/support/db.ts'
import { spawnServer } from '#test/support/server-process.ts'

const main = new URL('../main.ts', import.meta.url)

t.test('a boot that fails on a given database closes its connections, so that the process ends with 1', async (t) => {
  const { url } = await emptyDb(t)
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const boot = async (home: string, more: Record<string, string> = {}) => {
    const env = { AGENTOS_HOME: home, AGENTOS_SECRET: testSecret.reveal(), DATABASE_URL: url, ...more }
    const server = spawnServer(main, [], env)
    t.teardown(() => server.kill())
    return { ...(await server.exited), said: server.lines.join('\n') }
  }
  const home = join(t.testdir(), 'home')
  mkdirSync(join(home, 'host'), { recursive: true }) // where the host's name would be
  t.match(await boot(home), { code: 1, said: /agentos cannot start: .*EISDIR/ })
  const { port } = taken.address() as AddressInfo
  t.match(await boot(join(t.testdirName, 'other'), { PORT: String(port) }), {
    code: 1,
    said: /agentos cannot start: .*taken/
  })
})
