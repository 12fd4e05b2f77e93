import type { AddressInfo } from 'node:net'
import t from 'tap'
import { buildApp } from '#core/app.ts'
import { audit } from '#core/audit/audit.ts'
import { must } from '#core/must.ts'
import { definePlugin } from '#core/plugin.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { until } from '#test/support/until.ts'
import { Client } from '#test/tenancy/support/client.ts'
import { methodRows } from '#test/tenancy/support/method-rows.ts'
import { count } from '#test/tenancy/support/proof.ts'
import { routeRows, routesOf } from '#test/tenancy/support/route-rows.ts'
import { world } from '#test/tenancy/support/world.ts'
import { scenes, sessionIn, unaudited } from './support/scenes.ts'
import { type Written, watchWrites } from './support/watch.ts'

const server = await world(t)
const { app, sql } = server
const a = await server.citizen('a')
const b = await server.citizen('b')
await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${TENANT_ZERO}, 'Tenant Zero', 'zero', 'pro') on conflict do nothing`
const operator = await server.makeKey(TENANT_ZERO, ['platform:*'])
const watch = await watchWrites(sql)
const mutating = routesOf(app).filter((route) => !/^(GET|HEAD|OPTIONS) /.test(route))

const operatorOnly = { authorization: operator.authorization }
const askers = (permission: string) =>
  permission === 'public' ? {} : permission.startsWith('platform:') ? operatorOnly : a.headers

const rowsOfLog = async () => Number((await sql`select count(*) from audit.entry`)[0]?.count)
const describe = ({ actor, writes }: Written) => `${actor}: ${writes.join(', ')}`

t.test('every mutating route writes its audit row', async (t) => {
  for (const route of mutating) {
    const row = routeRows[route]
    if (!row) {
      t.fail(`${route} has no row in test/tenancy/support/rows`)
      continue
    }
    const reason = unaudited[route]
    const scene = await scenes[route]?.(server, a, operatorOnly)
    const params = scene?.params ?? (await row.own?.(server, a)) ?? {}
    const wanted = { ...row.request?.(a), ...scene }
    const [method = '', path = ''] = route.split(' ')
    const answer = await app.inject({
      method: method as 'POST',
      url:
        path.replace(/:(\w+)/g, (_all, name) => encodeURIComponent(params[name] ?? 'missing')) + (wanted.query ?? ''),
      headers: { ...askers(row.permission), ...wanted.headers },
      ...(wanted.payload === undefined ? {} : { payload: wanted.payload })
    })
    if (reason !== undefined) continue
    const id = String(answer.headers['x-request-id'])
    const [log] = await sql`select from_address as "from" from audit.entry where request_id = ${id}`
    const said = `${answer.statusCode} ${answer.body.slice(0, 200)}`
    t.ok(
      answer.statusCode < 300 && log?.from === '127.0.0.1',
      `${route} is in the log with request and address: ${said}`
    )
  }
  t.strictSame(
    Object.keys(unaudited).filter((route) => !mutating.includes(route)),
    [],
    'no excuse for a route that is gone'
  )
})

t.test('every mutating method of the WebSocket writes its audit row', async (t) => {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = new Client(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/v1/ws`, b.headers)
  t.teardown(() => client.socket.terminate())
  await client.request('hello', { protocol: 1 })
  const state = { 'session.pause': 'RUNNING', 'session.resume': 'PAUSED' } as const
  const methods = server.kernel.ws.methods().filter(({ permission }) => !/(:read|^authenticated)$/.test(permission))
  t.ok(methods.length > 4)
  for (const { method } of methods) {
    const wanted = state[method as keyof typeof state]
    const params = wanted
      ? { sessionId: await sessionIn(server, b, wanted) }
      : await must(methodRows[method], `the row of ${method}`).params(server, b)
    const before = await rowsOfLog()
    const { error } = await client.request(method, params)
    t.notOk(error, `${method} goes through: ${JSON.stringify(error)}`)
    t.ok((await rowsOfLog()) > before, `${method} is in the log`)
  }
})

t.test('each transaction that somebody asked for and that changed anything has an audit row', async (t) => {
  const written = await watch.written()
  t.strictSame(written.filter(({ audited }) => !audited).map(describe), [])
  const tables = new Set(written.flatMap(({ writes }) => writes.map((write) => write.split(' ')[1])))
  t.ok(written.length > 20, `${written.length} transactions`)
  count(t, 'audit', {
    'mutating routes': mutating.length,
    'of them without a row, with a reason': Object.keys(unaudited).length,
    'tables watched': watch.tables.length,
    'tables written': tables.size,
    'transactions of an actor': written.length,
    'with an audit row': written.filter(({ audited }) => audited).length
  })
})

t.test("a stranger's route that writes without audit is found", async (t) => {
  await watch.forget()
  const stranger = definePlugin({
    name: 'stranger',
    permissions: { 'stranger:write': 'Change something.' },
    register(inner) {
      for (const [url, tells] of [
        ['/v1/silent', false],
        ['/v1/honest', true]
      ] as const) {
        inner.post(url, { config: { permission: 'stranger:write' } }, async (request) => {
          await request.tenant(async (tx) => {
            await tx`update core.tenants set settings = settings where tenant_id = ${request.auth.tenantId}`
            if (tells) await audit(tx, { action: 'stranger.came', subject: 'stranger:1' })
          })
          return {}
        })
      }
    }
  })
  const { log, clock, db, auth } = server
  const other = await buildApp({ kernel: { log, clock, db, auth }, rooms: [{ room: stranger }] })
  t.teardown(() => other.close())
  for (const url of ['/v1/silent', '/v1/honest']) {
    t.equal((await other.inject({ method: 'POST', url, headers: a.headers })).statusCode, 200)
  }
  const written = await watch.written()
  t.strictSame(
    written.map(({ audited }) => audited),
    [false, true]
  )
  t.match(written.map(describe)[0], /^key:.*: update core\.tenants$/)
})

t.test('the log of the tenant that was driven holds together', async (t) => {
  const verify = async () => {
    await server.kernel.audit.sealer.run()
    return await server.kernel.audit.verify({ tenantId: a.tenantId })
  }
  // The server goes on working: a row may come between the two.
  await until(async () => (await verify()).unsealed === 0, 'everything is sealed')
  const report = await server.kernel.audit.verify({ tenantId: a.tenantId })
  t.match(report, { ok: true, faults: [] })
  t.ok(report.entries > mutating.length / 2)
})
