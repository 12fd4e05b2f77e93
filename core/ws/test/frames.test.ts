import t from 'tap'
import { z } from 'zod'
import { defineError } from '#core/errors.ts'
import { serve } from '#core/ws/test/support.ts'
import { until } from '#test/support/until.ts'

const BellCracked = defineError('BELL_CRACKED', 409, (n: number) => ({
  message: `bell ${n} is cracked`,
  details: { n },
  retryAfterMs: 70
}))

t.test('a method gets parsed params and its caller; errors come as frames with code and place', async (t) => {
  const { enter, makeTenant } = await serve(t, {}, (gateway) => {
    gateway.method('bell.ring', {
      permission: 'bells:ring',
      params: z.strictObject({ n: z.int() }),
      async run({ auth, tenant }, { n }) {
        if (n === 3) throw new BellCracked(n)
        if (n === 4) throw new Error('secret inside')
        const [row] = await tenant((tx) => tx<{ id: string }[]>`select core.tenant() as id`)
        return { n, same: row?.id === auth.tenantId, big: 12n }
      }
    })
    t.throws(() => gateway.method('bell.ring', { permission: 'x:y', params: z.any(), run: () => 1 }), {
      code: 'WS_METHOD_TAKEN'
    })
  })
  const { key } = await makeTenant({ scopes: ['bells:ring'] })
  const client = await enter(key)
  t.match(await client.request('bell.ring', { n: 1 }), { id: '2', result: { n: 1, same: true, big: '12' } })
  t.match(await client.request('bell.ring', { n: 'one' }), {
    error: { code: 'REQUEST_INVALID', status: 400, details: { errors: [{ pointer: '/params/n' }] } }
  })
  t.match(await client.request('bell.ring', { n: 3 }), {
    error: { code: 'BELL_CRACKED', status: 409, message: 'bell 3 is cracked', retryAfterMs: 70, details: { n: 3 } }
  })
  const hidden = await client.request('bell.ring', { n: 4 })
  t.match(hidden, { error: { code: 'INTERNAL_ERROR', status: 500, requestId: String } })
  t.notMatch(JSON.stringify(hidden), /secret/)
  t.match(await client.request('bell.melt'), {
    error: {
      code: 'WS_METHOD_UNKNOWN',
      status: 404,
      details: { known: ['bell.ring', 'hello', 'ping', 'subscribe', 'unsubscribe'] }
    }
  })
  const stranger = await enter((await makeTenant({ scopes: ['other:thing'] })).key)
  t.match(await stranger.request('bell.ring', { n: 1 }), { error: { code: 'AUTH_PERMISSION_MISSING', status: 403 } })
  t.match(await stranger.request('subscribe', { topics: ['*'] }), { error: { code: 'AUTH_PERMISSION_MISSING' } })
  t.match(await stranger.request('ping'), { result: {} }, 'a missing permission does not end the connection')
})

t.test('malformed frames are answered with id null; the tenth ends the connection', async (t) => {
  const { enter, makeTenant } = await serve(t)
  const client = await enter((await makeTenant()).key)
  const bad = [
    '{',
    '[]',
    'null',
    '{"id":1,"method":"ping"}',
    '{"id":"","method":"ping"}',
    '{"id":"1"}',
    '{"id":"1","method":"ping","params":[]}',
    '{"id":"1","method":"ping","extra":1}',
    '{"id":"1","method":"ping","params":{"__proto__":{}}}'
  ]
  for (const text of bad) await client.send(text)
  await until(() => client.frames.length === 1 + bad.length, 'the answers')
  for (const [i, frame] of client.frames.slice(1).entries())
    t.match(
      frame,
      { id: null, error: { code: 'WS_FRAME_MALFORMED', status: 400, message: /^malformed frame: .+/ } },
      String(bad[i])
    )
  t.match(await client.request('ping'), { result: {} })
  await client.send(Buffer.from([1, 2, 3]))
  t.match(await client.closed, { code: 4400 })
})

t.test('a frame of 1 MiB is read, one byte more closes with 1009', async (t) => {
  const { enter, makeTenant } = await serve(t, {}, (gateway) =>
    gateway.method('echo.length', {
      permission: 'authenticated',
      params: z.strictObject({ text: z.string() }),
      run: (_context, { text }) => ({ length: text.length })
    })
  )
  const client = await enter((await makeTenant()).key)
  const frame = (length: number) =>
    JSON.stringify({ id: 'x', method: 'echo.length', params: { text: 'a'.repeat(length) } })
  const most = 1024 * 1024 - frame(0).length
  await client.send(frame(most))
  await until(() => client.frames.length === 2, 'the answer')
  t.match(client.frames[1], { id: 'x', result: { length: most } })
  await client.send(frame(most + 1))
  t.match(await client.closed, { code: 1009 })
})

t.test('more frames than allowed close with 4429', async (t) => {
  const { enter, makeTenant } = await serve(t, { limits: { framesPerSecond: 10 } })
  const client = await enter((await makeTenant()).key)
  for (let i = 0; i < 25; i++) await client.send(JSON.stringify({ id: String(i), method: 'ping' }))
  t.match(await client.closed, { code: 4429 })
})

t.test('a client that has many requests at work is not read further until some are done', async (t) => {
  let running = 0
  let most = 0
  const waiting: (() => void)[] = []
  const { enter, makeTenant } = await serve(t, { limits: { concurrent: 4 } }, (gateway) =>
    gateway.method('slow.work', {
      permission: 'authenticated',
      params: z.strictObject({}),
      async run() {
        most = Math.max(most, ++running)
        await new Promise<void>((resolve) => waiting.push(resolve))
        running--
      }
    })
  )
  const client = await enter((await makeTenant()).key)
  for (let i = 0; i < 12; i++) await client.send(JSON.stringify({ id: `s${i}`, method: 'slow.work' }))
  await until(() => {
    if (running >= 4 || waiting.length > 0) waiting.shift()?.()
    return client.frames.length === 13
  }, 'all answers')
  t.equal(most, 4)
})
