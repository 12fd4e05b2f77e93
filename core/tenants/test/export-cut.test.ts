import { PassThrough } from 'node:stream'
import type { Test } from 'tap'
import t from 'tap'
import { pacedWriter } from '#core/tenants/export/pace.ts'
import { FakeClock } from '#test/support/fake-clock.ts'
import { until } from '#test/support/until.ts'
import { teamApp } from './support.ts'

const url = '/v1/tenant/export'

/** A tenant whose data do not fit into what lies between server and client. */
async function bigTenant(t: Test) {
  const clock = new FakeClock()
  const server = await teamApp(t, { clock })
  const { app, sql, lines } = server
  const base = await app.listen({ port: 0, host: '127.0.0.1' })
  const big = async () => {
    const tenant = await server.makeTenant()
    await sql`
      insert into core.journal (tenant_id, actor_id, key, record, epoch)
      select ${tenant.tenantId}, gen_random_uuid(), 'step:' || n, jsonb_build_object('text', repeat(md5(n::text), 300)), 1
      from generate_series(1, 2000) n`
    return tenant
  }
  /** Asks and reads nothing but the first piece. */
  const begin = async (headers: Record<string, string>) => {
    const response = await fetch(base + url, { headers })
    const reader = response.body?.getReader()
    const piece = Buffer.from((await reader?.read())?.value ?? []).toString()
    const rest = async () => {
      let text = piece
      for (;;) {
        const next = await reader?.read()
        if (!next || next.done) return text
        text += Buffer.from(next.value).toString()
      }
    }
    return { status: response.status, rest }
  }
  const cut = (why: string) =>
    until(() => lines.some((line) => line.includes('was cut off') && line.includes(why)), why)
  // For so long that nothing on the way takes any more.
  const waiting = () =>
    until(async () => {
      const rows = await sql`
        select 1 from pg_stat_activity where state = 'idle in transaction' and query like 'fetch%'
          and state_change < clock_timestamp() - interval '500 ms'`
      return rows.length > 0
    }, 'it waits for its reader')
  return { ...server, clock, big, begin, cut, waiting }
}

t.test('a client that takes nothing loses its place after two minutes', async (t) => {
  const { clock, big, begin, cut, waiting } = await bigTenant(t)
  const tenant = await big()
  const export1 = await begin(tenant.headers)
  await waiting()
  t.equal((await begin(tenant.headers)).status, 429)
  await clock.advance(119_000)
  t.equal((await begin(tenant.headers)).status, 429, 'it is still waited for')
  await clock.advance(2000)
  await cut('took nothing for two minutes')
  await t.rejects(export1.rest(), 'it is seen to be cut off')
  t.match(await (await begin(tenant.headers)).rest(), /"end":true/)
})

t.test('a client that takes a little all the time is cut off after an hour', async (t) => {
  const clock = new FakeClock()
  const out = new PassThrough()
  out.resume() // it is taken at once
  const write = pacedWriter(out, clock)
  for (let minute = 0; minute < 60; minute += 1) {
    await write('some bytes')
    await clock.advance(60_000)
  }
  await t.rejects(write('some bytes'), /more than an hour/)
  t.ok(out.destroyed)
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('an export ends with the key that it was asked with', async (t) => {
  const { clock, big, begin, cut, waiting, makeKey, ask } = await bigTenant(t)
  const { tenantId, headers } = await big()
  const { authorization } = await makeKey(tenantId, ['tenant:export'])
  const running = await begin({ authorization })
  await waiting()
  await clock.advance(10_000)
  const { body } = await ask('GET', '/v1/keys', { headers })
  const { id } = body.data.find((key: { scopes: string[] }) => key.scopes[0] === 'tenant:export')
  t.equal((await ask('DELETE', `/v1/keys/${id}`, { headers })).status, 204)
  await clock.advance(2500)
  await cut('AUTH_')
  await t.rejects(running.rest(), 'it is seen to be cut off')
})
