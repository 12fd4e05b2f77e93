import t from 'tap'
import { z } from 'zod'
import { defineError } from '#core/errors.ts'
import { fingerprintOf, idempotent, runIdempotent, sendAnswer, sweepIdempotency } from '#core/http/idempotency.ts'
import { definePlugin } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'

const Refused = defineError('TEST_REFUSED', 409, () => 'refused')

// Each run writes one key into core.api_key: an effect that can be counted.
const room = (gate: () => Promise<void> = async () => {}) =>
  definePlugin({
    name: 'effect',
    needs: ['auth'],
    permissions: { 'effects:write': 'Cause effects.' },
    register(app) {
      app.route({
        method: 'POST',
        url: '/v1/effects',
        config: { permission: 'effects:write' },
        schema: { body: z.strictObject({ name: z.string(), fail: z.boolean().optional() }) },
        handler: async (request, reply) => {
          const answer = await idempotent(request, async (tx) => {
            const { row } = await app.auth.createKey(tx, { name: request.body.name, scopes: ['keys:read'] })
            await gate()
            if (request.body.fail) throw new Refused()
            return { status: 202, body: { z: 1, id: row.id, a: 2 }, headers: { location: `/v1/keys/${row.id}` } }
          })
          return sendAnswer(reply, answer)
        }
      })
    }
  })

t.test('an Idempotency-Key makes an effect happen once', async (t) => {
  const { app, makeTenant, sql } = await testApp(t, { rooms: [{ room: room() }] })
  const [a, b] = [await makeTenant(), await makeTenant()]
  const effects = async () => Number((await sql`select count(*) from core.api_key where name like 'e%'`)[0]?.count)
  const post = (headers: object, key: string | undefined, payload: object) =>
    app.inject({
      method: 'POST',
      url: '/v1/effects',
      headers: { ...headers, ...(key === undefined ? {} : { 'idempotency-key': key }) },
      payload
    })

  t.test('a retry gets the first answer, byte for byte, and nothing happens again', async (t) => {
    const first = await post(a.headers, 'k1', { name: 'e1' })
    const second = await post(a.headers, 'k1', { name: 'e1' })
    t.strictSame([first.statusCode, second.statusCode], [202, 202])
    t.equal(second.body, first.body)
    t.equal(second.headers.location, first.headers.location)
    t.strictSame([first.headers['idempotency-replayed'], second.headers['idempotency-replayed']], [undefined, 'true'])
    t.equal(await effects(), 1)
  })

  t.test('the same key with another body or path is 422', async (t) => {
    t.match((await post(a.headers, 'k1', { name: 'e2' })).json(), { status: 422, code: 'IDEMPOTENCY_KEY_REUSED' })
    t.notSame(fingerprintOf('POST', '/a/1/run', {}), fingerprintOf('POST', '/a/2/run', {}))
    t.strictSame(
      fingerprintOf('POST', '/a', { x: 1, y: [{ b: 1, a: 2 }] }),
      fingerprintOf('POST', '/a', { y: [{ a: 2, b: 1 }], x: 1 })
    )
    t.equal(await effects(), 1)
  })

  t.test('keys belong to their tenant', async (t) => {
    t.notOk((await post(b.headers, 'k1', { name: 'e3' })).headers['idempotency-replayed'])
    t.equal(await effects(), 2)
  })

  t.test('a failure undoes everything and leaves the key free', async (t) => {
    t.equal((await post(a.headers, 'k2', { name: 'e4', fail: true })).statusCode, 409)
    t.equal(await effects(), 2)
    t.equal((await post(a.headers, 'k2', { name: 'e4' })).statusCode, 202)
    t.equal(await effects(), 3)
  })

  t.test('without a key every request counts; a key that is not visible ASCII is 400', async (t) => {
    await post(a.headers, undefined, { name: 'e5' })
    await post(a.headers, undefined, { name: 'e5' })
    t.equal(await effects(), 5)
    for (const key of ['', 'a b', 'ä', 'x'.repeat(256)]) {
      t.match((await post(a.headers, key, { name: 'e6' })).json(), { status: 400, code: 'IDEMPOTENCY_KEY_INVALID' })
    }
    t.equal(await effects(), 5)
  })
})

t.test('while the first request is being worked on, the same key is 409, and later gets its answer', async (t) => {
  const opened = Promise.withResolvers<void>()
  const entered = Promise.withResolvers<void>()
  const gate = () => {
    entered.resolve()
    return opened.promise
  }
  const { app, makeTenant } = await testApp(t, { rooms: [{ room: room(gate) }] })
  const { headers } = await makeTenant()
  const post = () =>
    app.inject({
      method: 'POST',
      url: '/v1/effects',
      headers: { ...headers, 'idempotency-key': 'k' },
      payload: { name: 'e' }
    })
  const first = post()
  await Promise.race([entered.promise, first])
  const second = await post()
  t.match(second.json(), { status: 409, code: 'IDEMPOTENCY_IN_FLIGHT' })
  t.equal(second.headers['retry-after'], '1')
  opened.resolve()
  const answer = await first
  t.equal((await post()).body, answer.body)
})

t.test(
  'a crash between the effect and the stored answer loses both, so the retry has one effect and one answer',
  async (t) => {
    const { db, sql, auth, makeTenant } = await testApp(t)
    const { tenantId } = await makeTenant()
    const once = { key: 'k', fingerprint: fingerprintOf('session.create', '', {}) }
    const work = (crash: boolean) =>
      runIdempotent(db, { tenantId }, once, async (tx) => {
        const { row } = await auth.createKey(tx, { name: 'effect', scopes: ['keys:read'] })
        // The connection dies after the effect, before the answer: what a killed process looks like to the database.
        const [me] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`
        if (crash) await sql`select pg_terminate_backend(${me?.pid ?? 0}, 5000)`
        return { status: 200, body: { id: row.id } }
      })
    await t.rejects(work(true))
    const answer = await work(false)
    t.strictSame(await work(false), { ...answer, headers: {}, replayed: true })
    const rows = await sql`select id from core.api_key where name = 'effect'`
    t.strictSame([...rows], [answer.body])
  }
)

t.test('the sweep deletes what is older than 24 hours, in batches', async (t) => {
  const { db, sql, makeTenant } = await testApp(t)
  const { tenantId } = await makeTenant()
  await sql`
    insert into core.idempotency (tenant_id, key, fingerprint, status, created_at)
    select ${tenantId}, 'k' || n, sha256('x'), 200, now() - make_interval(hours => n) from generate_series(1, 30) n`
  t.equal(await sweepIdempotency(db, 2), 7) // 24 h and some microseconds old counts
  t.equal(Number((await sql`select count(*) from core.idempotency`)[0]?.count), 23)
})

t.test(
  'an answer with a secret is given once: a repeat makes no second one, and the secret is stored nowhere',
  async (t) => {
    const { app, makeTenant, sql } = await testApp(t)
    const { headers } = await makeTenant()
    const payload = { name: 'once', scopes: ['keys:read'] }
    const post = (body: object = payload) =>
      app.inject({ method: 'POST', url: '/v1/keys', headers: { ...headers, 'idempotency-key': 'k' }, payload: body })
    const first = await post()
    t.equal(first.statusCode, 201)
    const { id, key } = first.json()
    const again = await post()
    t.match(again.json(), { status: 409, code: 'IDEMPOTENCY_SHOWN_ONCE', location: `/v1/keys/${id}` })
    t.match((await post({ ...payload, name: 'other' })).json(), { code: 'IDEMPOTENCY_KEY_REUSED' })
    t.equal((await sql`select 1 from core.api_key where name = 'once'`).length, 1)
    const [row] = await sql`select row_to_json(i)::text as text from core.idempotency i`
    t.notMatch(row?.text, key.split('_').at(-1))
    t.equal((await app.inject({ url: '/v1/whoami', headers: { authorization: `Bearer ${key}` } })).statusCode, 200)
  }
)
