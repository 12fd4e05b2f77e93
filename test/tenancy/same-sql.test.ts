// "Absent" and "foreign" are one answer, given by the same statements in the same order: what the two cost cannot differ
// by what was asked. The times themselves are printed by bench/foreign.ts.
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createUser } from '#core/auth/users.ts'
import { must } from '#core/must.ts'
import { Random } from '#test/chaos/random.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'
import { argument, count } from './support/proof.ts'
import { routeRows, routesOf } from './support/route-rows.ts'
import { nowhere, type Params, type RouteRow } from './support/rows/row.ts'
import { world } from './support/world.ts'

// CI names the other tenant to each route by its id or by its slug, `npm run test:tenancy` by both.
const seed = argument('whole') === undefined ? (argument('seed') ?? randomBytes(4).toString('hex')) : undefined
t.comment(seed === undefined ? 'whole' : `--seed=${seed}`)
const random = new Random(seed ?? '')

let heard: string[] = []
const server = await world(t, { onQuery: (sql) => void heard.push(sql.replace(/\s+/g, ' ').trim()) })
const a = await server.citizen('a')
const b = await server.citizen('b')
let compared = 0

const email = 'one@example.com'
const { id } = await server.db.system((tx) => createUser(tx, { email, password: cheapHash('correct horse battery') }))
await server.sql`insert into core.member (tenant_id, user_id, role) values (${a.tenantId}, ${id}, 'owner')`
const { accessToken } = await server.auth.logins.logIn(email, 'correct horse battery', '127.0.0.1')
const user = { id, headers: { authorization: `Bearer ${accessToken.reveal()}` } }

// Relay, jobs and sweeps ask in between and in no order: of theirs, only what a request says by itself would be missed.
await server.kernel.actors.stop(2000)
await server.kernel.jobs.stop(2000)
await server.kernel.audit.stop()
await server.kernel.bus.stop()

type Asked = ReturnType<NonNullable<RouteRow['request']>>

/** What the database was asked for one request. */
async function statements(route: string, params: Params, { payload, headers, query = '' }: Asked = {}) {
  const [method = '', path = ''] = route.split(' ')
  const url = path.replace(/:(\w+)/g, (_all, name) => encodeURIComponent(must(params[name], name))) + query
  heard = []
  const answer = await server.app.inject({
    method: method as 'GET',
    url,
    headers: { ...a.headers, ...headers },
    ...(payload === undefined ? {} : { payload })
  })
  const asked = heard
  return { status: answer.statusCode, asked }
}

/** Twice before what counts: keys, plans and tenants that are cached are asked for only once. */
async function warm(route: string, params: Params, asked: Asked = {}) {
  await statements(route, params, asked)
  return await statements(route, params, asked)
}

await server.auth.settle()

for (const route of routesOf(server.app)) {
  const row = routeRows[route.replace(/^HEAD /, 'GET ')]
  if (row?.had && row.absent) t.test(`${route}: an id in the path`, (t) => inPath(t, route, row))
  if (row?.bodies) t.test(`${route}: a name in the body`, (t) => inBody(t, route, row))
  if (row && row.permission !== 'public') t.test(`${route}: a tenant in the header`, (t) => inHeader(t, route, row))
}

async function inPath(t: Test, route: string, row: RouteRow): Promise<void> {
  const asked = row.request?.(a)
  const foreign = await warm(route, must(row.had?.(b), 'what b has'), asked)
  const absent = await warm(route, must(row.absent?.(), 'an absent one'), asked)
  t.strictSame(foreign, absent)
  t.ok(foreign.asked.length > 0, 'the database was asked at all')
  compared++
}

async function inBody(t: Test, route: string, row: RouteRow): Promise<void> {
  const params = (await row.own?.(server, a)) ?? {}
  const absent = row.bodies?.({ scope: 'scope-nobody', tenantId: nowhere }) ?? []
  for (const [i, [what, payload]] of (row.bodies?.(b) ?? []).entries()) {
    const other = must(absent[i], what)[1]
    t.strictSame(await warm(route, params, { payload }), await warm(route, params, { payload: other }), what)
    compared++
  }
}

async function inHeader(t: Test, route: string, row: RouteRow): Promise<void> {
  const wanted = row.request?.(a) ?? {}
  const given = row.had?.(a) ?? {}
  const params = Object.fromEntries(
    [...route.matchAll(/:(\w+)/g)].map(([, name = '']) => [name, given[name] ?? nowhere])
  )
  const naming = async (tenant: string) => {
    server.auth.forgetUser(user.id) // what is remembered of a user is asked for again
    return await statements(route, params, {
      ...wanted,
      headers: { ...wanted.headers, ...user.headers, 'agentos-tenant': tenant }
    })
  }
  const names = [
    [b.tenantId, nowhere],
    [b.slug, 'nobody']
  ] as const
  for (const [theirs, nobodys] of seed === undefined ? names : [random.pick(names)]) {
    const foreign = await naming(theirs)
    t.strictSame(foreign, await naming(nobodys))
    t.ok(foreign.asked.length > 0, 'the database was asked at all')
  }
  compared++
}

t.test('a handler that looks first whether the thing exists would be seen', async (t) => {
  const naive = async (id: string) => {
    heard = []
    const [there] = await server.db.system((tx) => tx`select tenant_id from core.api_key where id = ${id}`)
    if (there) await server.db.tenant(a.tenantId, (tx) => tx`select name from core.api_key where id = ${id}`)
    return heard
  }
  t.notSame(await naive(b.keyId), await naive(nowhere))
  count(t, 'same-sql', { 'pairs of requests that ask the same': compared })
})
