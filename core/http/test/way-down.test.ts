import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:http'
import t from 'tap'
import { Health } from '#core/http/health.ts'
import { Shutdown } from '#core/http/shutdown.ts'
import { createLog } from '#core/log.ts'
import { definePlugin } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

const log = createLog({ level: 'silent' })

t.test(
  'phases run in their order, a failing or hanging step stops nothing, and asking twice goes down once',
  async (t) => {
    const clock = new FakeClock()
    const shutdown = new Shutdown({ clock, log })
    const seen: string[] = []
    shutdown.step('stop-database', 'db', () => seen.push('db'))
    shutdown.step('drain', 'hangs', (signal) => {
      signal.addEventListener('abort', () => seen.push('cut'))
      return new Promise(() => {})
    })
    shutdown.step('close-sockets', 'fails', () => {
      seen.push('sockets')
      throw new Error('no')
    })
    shutdown.step('not-ready', 'health', () => seen.push('not ready'))
    const down = shutdown.run('SIGTERM')
    t.equal(shutdown.run('again'), down)
    await clock.advance(9_999)
    t.strictSame(seen, ['not ready', 'sockets'])
    await clock.advance(1)
    await down
    t.strictSame(seen, ['not ready', 'sockets', 'cut', 'db'])
  }
)

t.test(
  'readiness: a failing required check is not ready, an optional one degraded, a hanging one ends after 2 s',
  async (t) => {
    const clock = new FakeClock()
    const health = new Health({ clock, log })
    let broken = false
    health.add('db', () => (broken ? Promise.reject(new Error('10.0.0.1 refused')) : { ms: 1 }))
    t.match(await health.readiness(), { status: 'ready', checks: { db: { status: 'ok', detail: { ms: 1 } } } })
    health.add('sandbox', () => new Promise(() => {}), { required: false })
    const degraded = health.readiness()
    t.equal(health.readiness(), degraded, 'one run serves all who ask meanwhile')
    await clock.advance(2000)
    t.match(await degraded, { status: 'degraded', checks: { sandbox: { status: 'failed', ms: 2000 } } })
    broken = true
    const bad = health.readiness()
    await clock.advance(2000)
    t.match(await bad, { status: 'not ready' })
    t.notMatch(JSON.stringify(await bad), '10.0.0.1')
  }
)

t.test('on the way down /readyz says so, and a request in flight is answered before the app closes', async (t) => {
  const entered = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  const slow = definePlugin({
    name: 'slow',
    register(app) {
      app.get('/v1/slow', { config: { permission: 'public' } }, async () => {
        entered.resolve()
        await opened.promise
        return { done: true }
      })
    }
  })
  const { app } = await testApp(t, { rooms: [{ room: slow }] })
  t.match((await app.inject('/readyz?verbose')).json(), { status: 'ready', checks: { db: { status: 'ok' } } })
  t.strictSame((await app.inject('/readyz')).json(), { status: 'ready' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const answer = new Promise<string>((resolve, reject) => {
    get(`${url}/v1/slow`, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text))
    }).on('error', reject)
  })
  await entered.promise
  const stages: string[] = []
  app.shutdown.step('close-sockets', 'probe', async () => {
    const ready = await app.inject('/readyz')
    stages.push(`${ready.statusCode} ${ready.json().status}`)
    opened.resolve()
  })
  app.shutdown.step('close-pools', 'probe', async () => void stages.push(await answer))
  await app.shutdown.run('test')
  t.strictSame(stages, ['503 draining', '{"done":true}'])
})

const program = `
  import { Shutdown, downOnSignals } from '#core/http/shutdown.ts'
  import { systemClock } from '#core/clock.ts'
  import { createLog } from '#core/log.ts'
  const log = createLog({ level: 'silent' })
  const shutdown = new Shutdown({ clock: systemClock, log })
  shutdown.step('drain', 'x', () => process.argv[1] === 'hang' ? new Promise(() => {}) : process.stdout.write('drained '))
  downOnSignals(shutdown, log)
  setInterval(() => {}, 1000)
  process.stdout.write('up ')`

for (const how of ['drain', 'hang']) {
  t.test(
    how === 'hang' ? 'a second signal ends at once' : 'one signal goes down in order and ends with 0',
    async (t) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program, how], { cwd: process.cwd() })
      let text = ''
      child.stdout.on('data', (chunk) => (text += chunk))
      child.stderr.on('data', (chunk) => (text += chunk))
      await once(child.stdout, 'data')
      child.kill('SIGTERM')
      if (how === 'hang') {
        t.equal(child.exitCode, null)
        // The second one counts when the first was seen; sending until it ends needs no sleep.
        const again = setInterval(() => child.kill('SIGTERM'), 50)
        t.teardown(() => clearInterval(again))
      }
      const [code] = await once(child, 'exit')
      t.strictSame([code, text], how === 'hang' ? [1, 'up '] : [0, 'up drained '])
    }
  )
}
