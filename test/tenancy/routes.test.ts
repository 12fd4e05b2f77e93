import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { buildApp } from '#core/app.ts'
import { newKey } from '#core/auth/key.ts'
import { must } from '#core/must.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { Random } from '#test/chaos/random.ts'
import { until } from '#test/support/until.ts'
import { readCatalogue } from './support/catalogue.ts'
import { superSession } from './support/full-db.ts'
import { argument, count } from './support/proof.ts'
import { routeRows, routesOf, withoutRow } from './support/route-rows.ts'
import type { RouteRow } from './support/rows/row.ts'
import { tenantOf } from './support/seed.ts'
import { type Citizen, world } from './support/world.ts'

// CI asks each route as some of the strangers and by some of the names, others each time; `npm run test:tenancy` by all.
const seed = argument('whole') === undefined ? (argument('seed') ?? randomBytes(4).toString('hex')) : undefined
t.comment(seed === undefined ? 'whole' : `--seed=${seed}`)
const random = new Random(seed ?? '')
const some = <T>(all: readonly T[], n: number): readonly T[] =>
  seed === undefined ? all : random.shuffle(all).slice(0, n)

const server = await world(t)
const { app, auth, db } = server
const a = await server.citizen('a')
const b = await server.citizen('b')
await server.session(b)
const routes = routesOf(app)
let requests = 0
/** What broke. */
const broken: string[] = []
/** What answers showed of b. */
const seen: string[] = []

/** Every byte of the rows of `b`, who does nothing while `a` tries; but its key is used, which is noted once a minute. */
async function bytesOfB(): Promise<string> {
  const session = await superSession(t, server.url)
  const tables = await readCatalogue(session)
  const parts = tables.flatMap((table) => {
    const tenant = tenantOf(table)
    return tenant === null
      ? []
      : `select '${table.name}' || (to_jsonb(r) - 'last_used_at')::text as line from ${table.name} r where ${tenant} = '${b.tenantId}'`
  })
  const [row] = await session.unsafe(
    `select count(*)::int as n, md5(string_agg(line, '|' order by line collate "C")) as digest from (${parts.join(' union all ')}) x`
  )
  session.release()
  return `${row?.n} rows: ${row?.digest}`
}

type Answer = Awaited<ReturnType<typeof ask>>

async function ask(
  route: string,
  options: { params?: Readonly<Record<string, string>>; query?: string; headers?: object; payload?: object | Buffer }
) {
  const [method = '', path = ''] = route.split(' ')
  const url =
    path.replace(/:(\w+)/g, (_all, name) => encodeURIComponent(options.params?.[name] ?? 'missing')) +
    (options.query ?? '')
  const { statusCode, body, headers } = await app.inject({
    method: method as 'GET',
    url,
    headers: { ...options.headers },
    ...(options.payload === undefined ? {} : { payload: options.payload })
  })
  requests++
  if (statusCode >= 500) broken.push(`${route}: ${body} ${server.lines.findLast((line) => line.includes('"error"'))}`)
  const text = `${body} ${JSON.stringify(headers)}`
  const said = `${url} ${JSON.stringify(options.payload)}`
  const marks = [b.sessionId, b.keyId, b.installId, b.secretName, b.memberId, b.invitationId, `${b.scope}/secret`]
  // A tenant's name is what the operator knows it by.
  if (route !== 'GET /v1/platform/tenants') marks.push(b.canary)
  const isB = JSON.stringify(options.headers).includes(b.headers.authorization)
  if (!isB)
    seen.push(...marks.filter((mark) => text.includes(mark) && !said.includes(mark)).map((mark) => `${route}: ${mark}`))
  return { status: statusCode, type: headers['content-type'], body }
}

/** An answer without what the asker said and without the request's own id. */
function shape(answer: Answer, said: readonly string[]): object {
  let { body } = answer
  for (const text of said) body = body.replaceAll(text, '<said>')
  return { ...answer, body: body.replace(/"requestId":"[^"]*"/, '"requestId":"-"') }
}

async function keyed(who: Citizen, scopes: string[], expiresAt: Date | null = null) {
  const { key, row } = await db.tenant(who.tenantId, (tx) =>
    auth.createKey(tx, { name: who.canary, scopes, expiresAt })
  )
  return { id: row.id, headers: { authorization: `Bearer ${key.reveal()}` } }
}

const permissions = [...app.permissions.keys()]
const everythingBut = (permission: string) =>
  permissions.filter((one) => one !== permission && !one.startsWith('platform:'))

await auth.settle()
await until(
  async () => (await server.sql`select 1 from core.event where seq is null`).length === 0,
  'the relay is done'
)
await until(async () => (await server.sql`select 1 from audit.tally`).length === 0, 'every audit row is sealed')
const before = await bytesOfB()

t.test('every route of the router has a row, and every row a route', async (t) => {
  t.strictSame(withoutRow(routes, routeRows), [])
  t.strictSame(
    Object.keys(routeRows).filter((row) => !routes.includes(row)),
    []
  )
  const known = app.rooms().flatMap((room) => room.routes)
  for (const { method, url, permission } of known)
    t.equal(routeRows[`${method} ${url}`]?.permission, permission, `${method} ${url} asks for ${permission}`)
})

t.test("a stranger's route without a row is red", async (t) => {
  const other = await buildApp({
    kernel: { log: server.log, clock: server.clock, db, auth },
    rooms: [
      {
        room: {
          name: 'stranger',
          register: (inner) =>
            void inner.get('/v1/stranger/:id', { config: { permission: 'public' } }, async () => 'hello')
        }
      }
    ]
  })
  t.teardown(() => other.close())
  t.strictSame(withoutRow(routesOf(other), routeRows), ['GET /v1/stranger/:id', 'HEAD /v1/stranger/:id'])
})

for (const route of routes) {
  const row = routeRows[route.replace(/^HEAD /, 'GET ')]
  if (row) t.test(route, (t) => checkRoute(t, route, row))
}

async function checkRoute(t: Test, route: string, row: RouteRow): Promise<void> {
  const { permission } = row
  const platform = permission.startsWith('platform:')
  const send = async (
    headers: object,
    more: { query?: string; params?: Readonly<Record<string, string>>; payload?: object } = {}
  ) => {
    const wanted = row.request?.(a)
    const params = more.params ?? (await row.own?.(server, a))
    const payload = more.payload ?? wanted?.payload
    const query = more.query && wanted?.query ? `${wanted.query}&${more.query.slice(1)}` : (more.query ?? wanted?.query)
    return await ask(route, {
      ...(query ? { query } : {}),
      ...(params ? { params } : {}),
      ...(payload ? { payload } : {}),
      headers: { ...wanted?.headers, ...headers }
    })
  }
  const right = await keyed(
    a,
    platform || permission === 'public' || permission === 'authenticated' ? ['*'] : [permission]
  )
  const may = platform ? [403] : row.ok

  const strangers: Record<string, object> = {
    'no key': {},
    garbage: { authorization: 'Bearer garbage' },
    'another scheme': { authorization: right.headers.authorization.replace('Bearer', 'Basic') },
    'a key nobody made': { authorization: `Bearer ${newKey().key.reveal()}` },
    'a key with one character changed': {
      authorization: right.headers.authorization.replace(
        /_(.)(.{42}_)/,
        (_all, first, rest) => `_${first === 'a' ? 'b' : 'a'}${rest}`
      )
    },
    'a revoked key': (await revoked(a)).headers,
    'an expired key': (await keyed(a, ['*'], new Date(Date.UTC(2020, 0)))).headers
  }
  const bodies = new Set<string>()
  for (const [who, headers] of some(Object.entries(strangers), 3)) {
    const answer = await send(headers)
    t.ok(permission === 'public' ? row.ok.includes(answer.status) : answer.status === 401, `${who}: ${answer.status}`)
    if (permission !== 'public') bodies.add(JSON.stringify(shape(answer, [])))
  }
  t.ok(bodies.size <= 1, 'and none of them learns which it was')
  if (permission !== 'public') {
    const inQuery = await send({}, { query: `?token=${right.headers.authorization.slice(7)}&access_token=x` })
    t.equal(inQuery.status, 401, 'a key in the query string is no key')
  }

  const named = permission !== 'public' && permission !== 'authenticated'
  const less = await send((await keyed(a, everythingBut(permission))).headers)
  t.ok(named ? less.status === 403 : row.ok.includes(less.status), `every other permission: ${less.status}`)
  const all = await send((await keyed(a, ['*'])).headers)
  t.ok(may.includes(all.status), `every permission: ${all.status}`)
  const exact = await send(right.headers)
  t.ok(may.includes(exact.status), `this permission alone: ${exact.status}`)
  if (platform) await asOperator(t, route, row)

  for (const own of some([a.tenantId, a.slug], 1)) {
    const answer = await send({ ...right.headers, 'agentos-tenant': own })
    t.ok(may.includes(answer.status), `naming its own tenant: ${answer.status}`)
  }
  const refusals = new Set<string>()
  const absent = ['01900000-0000-7000-8000-0000000000ff', 'nobody', "' or true --"]
  for (const other of [...some([b.tenantId, b.slug], 1), ...some(absent, 1)]) {
    const answer = await send({ ...right.headers, 'agentos-tenant': other })
    t.ok(
      permission === 'public' ? row.ok.includes(answer.status) : answer.status === 403,
      `naming the tenant ${other}: ${answer.status}`
    )
    if (permission !== 'public') refusals.add(JSON.stringify(shape(answer, [other])))
  }
  t.ok(refusals.size <= 1, 'a foreign and an absent tenant are refused alike')
  const asked = await send(right.headers, { query: `?tenantId=${b.tenantId}&tenant=${b.slug}` })
  t.ok(asked.status < 500, `a tenant in the query: ${asked.status}`)

  if (row.own && row.absent) await foreignIds(t, route, row, right.headers)
  for (const [i, [what, foreign, status]] of (row.bodies?.(b) ?? []).entries()) {
    const none = { scope: 'scope-nobody', tenantId: '01900000-0000-7000-8000-0000000000ff' }
    const [theirs, absent] = [
      await send(right.headers, { payload: foreign }),
      await send(right.headers, { payload: must(row.bodies?.(none)[i], what)[1] })
    ]
    t.equal(theirs.status, status, `${what} of another tenant in the body`)
    t.strictSame(
      shape(theirs, [b.scope, b.tenantId]),
      shape(absent, [none.scope, none.tenantId]),
      'is answered like one that is nowhere'
    )
  }
  if (row.list && route.startsWith('GET')) {
    const page = await ask(route, { headers: b.headers, query: '?limit=1' })
    const cursor = JSON.parse(page.body).nextCursor
    if (cursor)
      t.equal(
        (await send(right.headers, { query: `?cursor=${cursor}` })).status,
        200,
        "another tenant's cursor is a position, no key"
      )
  }
}

async function foreignIds(t: Test, route: string, row: RouteRow, headers: object): Promise<void> {
  const theirs = must(row.had?.(b), 'what b has')
  const absent = must(row.absent?.(), 'an absent one')
  const more = row.request?.(a) ?? {}
  const [foreign, nowhere] = [
    await ask(route, { ...more, headers: { ...more.headers, ...headers }, params: theirs }),
    await ask(route, { ...more, headers: { ...more.headers, ...headers }, params: absent })
  ]
  t.equal(foreign.status, 404, `another tenant's ${Object.keys(theirs).join()}`)
  t.strictSame(
    shape(foreign, Object.values(theirs)),
    shape(nowhere, Object.values(absent)),
    'is answered like one that is nowhere'
  )
  for (const odd of some(['x', '..', '%00', b.sessionId.toUpperCase(), `${b.sessionId}'`, '{}'], 2)) {
    const params = Object.fromEntries(Object.keys(theirs).map((name) => [name, odd]))
    const { status } = await ask(route, { ...more, headers: { ...more.headers, ...headers }, params })
    t.ok(status >= 400 && status < 500, `${odd}: ${status}`)
  }
}

async function asOperator(t: Test, route: string, row: RouteRow): Promise<void> {
  await server.sql`insert into core.tenants (tenant_id, name, slug, plan) values (${TENANT_ZERO}, 'Tenant Zero', 'zero', 'pro') on conflict do nothing`
  const plain = await server.makeKey(TENANT_ZERO, ['*'])
  const operator = await server.makeKey(TENANT_ZERO, [row.permission])
  t.equal(
    (await ask(route, { headers: { authorization: plain.authorization } })).status,
    403,
    "* is not the platform's"
  )
  t.ok(
    row.ok.includes((await ask(route, { headers: { authorization: operator.authorization } })).status),
    "Tenant Zero's operator"
  )
  const forged = await keyed(a, ['*', row.permission, 'platform:*'])
  t.equal((await ask(route, { headers: forged.headers })).status, 403, "another tenant's key, whatever its row says")
}

async function revoked(who: Citizen) {
  const key = await keyed(who, ['*'])
  const answer = await app.inject({ method: 'DELETE', url: `/v1/keys/${key.id}`, headers: who.headers })
  if (answer.statusCode !== 204) throw new Error(answer.body)
  return key
}

t.test("an Idempotency-Key of another tenant is one's own", async (t) => {
  const answers = []
  for (const who of [a, b]) {
    const payload = { ref: `@${who.scope}/tool@^1` }
    answers.push(
      await app.inject({
        method: 'POST',
        url: '/v1/skills',
        payload,
        headers: { ...who.headers, 'idempotency-key': 'shared' }
      })
    )
  }
  t.notOk(answers[1]?.headers['idempotency-replayed'])
  t.equal(answers[1]?.json().id, b.installId)
})

t.test('nothing of b was changed, shown, or broke', async (t) => {
  await server.sql`delete from core.idempotency where tenant_id = ${b.tenantId}`
  t.equal(await bytesOfB(), before)
  t.strictSame(broken, [])
  t.strictSame(seen, [])
  count(t, 'routes', {
    routes: routes.length,
    requests,
    'answers 5xx': broken.length,
    'answers with a foreign canary': seen.length
  })
})
