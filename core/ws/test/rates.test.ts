import t from 'tap'
import { smallTable } from '#core/http/test/support/limits.ts'
import { serve } from './support.ts'

t.test('calls count with the requests of the tenant, each as its class, and a refused one is told', async (t) => {
  const { makeTenant, enter } = await serve(t, { table: smallTable })
  const [one, other] = [await makeTenant(), await makeTenant()]
  const client = await enter(one.key)
  for (let i = 0; i < 3; i++) t.ok((await client.request('ping')).result)
  t.match(await client.request('ping'), {
    error: { code: 'RATE_LIMITED', status: 429, retryAfterMs: Number, details: { kind: 'read', limit: 3, used: 3 } }
  })
  const second = await enter(one.key)
  t.match(await second.request('subscribe', { topics: ['*'] }), { error: { code: 'RATE_LIMITED' } })
  t.ok((await (await enter(other.key)).request('ping')).result, 'another tenant has its own')
})
