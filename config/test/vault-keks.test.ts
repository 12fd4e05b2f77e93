import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { testSecret } from '#test/support/cluster.ts'
import { emptyDb } from '#test/support/db.ts'
import { spawnServer } from '#test/support/server-process.ts'
import { until } from '#test/support/until.ts'

const main = new URL('../main.ts', import.meta.url)

t.test(
  'a server moves the data keys to a new VAULT_KEKS by itself, and refuses to start without one in use',
  async (t) => {
    const { url } = await emptyDb(t)
    const home = t.testdir({ 'first-run-done': '' })
    const start = (keks?: string) => {
      const env = { AGENTOS_HOME: home, AGENTOS_SECRET: testSecret.reveal(), DATABASE_URL: url }
      const server = spawnServer(main, [], {
        ...env,
        ...(keks === undefined ? {} : { VAULT_KEKS_FILE: join(home, 'keks') })
      })
      t.teardown(() => server.kill())
      return server
    }
    const startWith = (keks: string) => {
      writeFileSync(join(home, 'keks'), keks)
      return start(keks)
    }
    const ask = async (base: string, path: string, init: { method?: string; body?: string } = {}) => {
      const key = readFileSync(join(home, 'owner.key'), 'utf8').trim()
      const headers = { authorization: `Bearer ${key}`, ...(init.body ? { 'content-type': 'application/json' } : {}) }
      const answer = await fetch(`${base}${path}`, { ...init, headers })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    }
    const two = `2:${randomBytes(32).toString('base64')}`

    const first = start()
    const base = await first.ready
    t.equal((await ask(base, '/v1/secrets/TOKEN', { method: 'PUT', body: '{"value":"x"}' })).status, 201)
    await first.kill()

    const without = startWith(two)
    t.match(await without.exited, { code: 1 })
    t.match(without.lines.join('\n'), /agentos cannot start: .*version 1.*VAULT_KEKS/)

    const both = startWith(`${two}\n1:derived\n`)
    const url2 = await both.ready
    await until(async () => {
      const { body } = await ask(url2, '/v1/platform/vault/rotation')
      return body.current === 2 && body.remaining === 0
    }, 'the data key has moved')
    await both.kill()

    const alone = startWith(two)
    t.equal((await ask(await alone.ready, '/v1/secrets/TOKEN')).status, 200)
  }
)
