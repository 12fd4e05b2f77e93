import t from 'tap'
import { z } from 'zod'
import { createBus } from '#core/bus/index.ts'
import { Ticked } from '#core/bus/test/support.ts'
import { AppError } from '#core/errors.ts'
import { pending } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { definePlugin } from '#core/plugin.ts'
import { createJobs } from '#core/queue/jobs.ts'
import { Secret } from '#core/secret.ts'
import { errorFrame } from '#core/ws/frames.ts'
import { testApp } from '#test/support/app.ts'
import { testDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'
import { searchTables } from './support/places.ts'
import { Search } from './support/search.ts'

// Errors are the way out: a library puts what it was given into a message, and we send, log and store messages.

const secret = new Secret('a"secret/of+somebody=else and long')
const search = new Search({ secret: secret.reveal() })
const clumsy = () => {
  const text = `connecting with ${secret.reveal()} ${Buffer.from(secret.reveal()).toString('base64')}`
  return new AppError('CLUMSY_LIBRARY', 400, {
    message: text,
    details: { errors: [{ pointer: '/a', detail: text }], text }
  })
}

t.test('an error body and an error frame hold no living secret, and stay JSON', async (t) => {
  const room = definePlugin({
    name: 'clumsy',
    register(app) {
      app.get('/v1/clumsy', { config: { permission: 'public' } }, () => {
        throw clumsy()
      })
    }
  })
  const { app, lines } = await testApp(t, { rooms: [{ room }] })
  const { body } = await app.inject('/v1/clumsy')
  t.strictSame(search.in('body', body), [])
  t.match(JSON.parse(body), { status: 400, code: 'CLUMSY_LIBRARY', detail: 'connecting with [secret] [secret]' })
  t.match(JSON.parse(body).errors, [{ pointer: '/a', detail: /\[secret\]/ }])
  const frame = errorFrame('7', clumsy(), newId())
  t.strictSame(search.in('frame', frame), [])
  t.match(JSON.parse(frame), { id: '7', error: { code: 'CLUMSY_LIBRARY', message: /connecting with \[secret\]/ } })
  t.strictSame(search.in('log', lines.join('')), [])
})

t.test('the error that is kept of a failed job, or of a dead letter, holds none either', async (t) => {
  const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
  const tenantId = newId()
  const jobs = createJobs({ db })
  const job = jobs.define('test.clumsy', z.strictObject({ tenantId: z.string() }), () => Promise.reject(clumsy()))
  const bus = createBus({ db, retryMs: 1, pollMs: 20 })
  bus.on('clumsy', Ticked, () => Promise.reject(clumsy()))
  await Promise.all([jobs.start(), bus.start()])
  t.teardown(() => Promise.all([jobs.stop(), bus.stop()]))
  await db.tenant(tenantId, async (tx) => {
    await jobs.send(tx, job, { tenantId })
    await bus.emitAll(tx, [pending(Ticked, 'p', { n: 1 })])
  })
  const letters = () => sql<{ error: string }[]>`select error from core.dead_letter`
  await until(async () => (await letters()).length > 0, 'the dead letter')
  t.match(await letters(), [{ error: 'connecting with [secret] [secret]' }])
  const outputs = () => sql<{ output: object }[]>`select output from pgboss.job where output is not null`
  await until(async () => (await outputs()).length > 0, 'the failed job')
  t.match(JSON.stringify(await outputs()), /connecting with \[secret\]/)
  t.strictSame((await searchTables(sql, search)).hits, [])
})
