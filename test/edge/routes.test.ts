import t from 'tap'
import { must } from '#core/must.ts'
import { routeRows } from '#test/tenancy/support/route-rows.ts'
import { type Citizen, world } from '#test/tenancy/support/world.ts'

// What every route of this server keeps at the edge, whoever wrote it: walked through the document that it gives out.

const server = await world(t)
const { app, sql } = server
const who = await server.citizen('edge')

interface Shape {
  type?: string
  items?: Shape
  maxItems?: number
  [more: string]: unknown
}
interface Operation {
  responses: Record<string, unknown>
  requestBody?: { content: Record<string, { schema: Shape }> }
}
const document = app.swagger() as unknown as { paths: Record<string, Record<string, Operation>>; components: unknown }
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`,
    operation
  }))
)

/** POSTs that answer 201 or 202 and take no Idempotency-Key, each with what a repeat does instead. */
const withoutKey: Readonly<Record<string, string>> = {
  'POST /v1/ws/ticket': 'a ticket is a secret of 30 seconds: the next one takes nothing away',
  'POST /v1/platform/tenants': 'the slug is unique: a repeat is 409; the answer holds a key',
  'POST /v1/platform/tenants/:id/owner': 'one open invitation of an owner: a repeat is 409; the answer holds a token',
  'POST /v1/platform/vault/rotation': 'one rotation at a time: a repeat joins it',
  'POST /v1/sessions/:id/run': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/pause': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/resume': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/cancel': 'a command: the state decides what a repeat does'
}

const creating = operations
  .filter(({ name, operation }) => name.startsWith('POST ') && (operation.responses[201] || operation.responses[202]))
  .map(({ name }) => name)

async function post(route: string, citizen: Citizen, key: string, kept?: ReturnType<typeof requestOf>) {
  const row = must(routeRows[route], `a row of ${route} in test/tenancy/support/rows`)
  const params = (await row.own?.(server, citizen)) ?? {}
  const url = (route.split(' ')[1] ?? '').replace(/:(\w+)/g, (_all, name) => encodeURIComponent(params[name] ?? ''))
  const { payload, headers } = kept ?? requestOf(route)
  return await app.inject({
    method: 'POST',
    url,
    headers: { ...citizen.headers, ...headers, 'idempotency-key': key },
    ...(payload === undefined ? {} : { payload })
  })
}
const requestOf = (route: string) => routeRows[route]?.request?.(who) ?? {}

t.test('every POST that creates takes an Idempotency-Key, or is on the list with its reason', async (t) => {
  const keyed = creating.filter((route) => !(route in withoutKey))
  t.ok(keyed.length >= 4)
  for (const [index, route] of keyed.entries()) {
    const key = `key-of-route-${index}`
    const kept = requestOf(route)
    const first = await post(route, who, key, kept)
    t.ok(first.statusCode < 300, `${route}: ${first.statusCode} ${first.body.slice(0, 200)}`)
    const again = await post(route, who, key, kept)
    if (again.statusCode === 409) t.equal(again.json().code, 'IDEMPOTENCY_SHOWN_ONCE', `${route} keeps its secret`)
    else {
      t.strictSame([again.statusCode, again.body], [first.statusCode, first.body], `${route} answers the same again`)
      t.equal(again.headers['idempotency-replayed'], 'true', `${route} says that it did`)
    }
    const other = must(keyed.at(index - 1), 'another route')
    t.match(
      (await post(other, who, key)).json(),
      { status: 422, code: 'IDEMPOTENCY_KEY_REUSED' },
      `${other}, not ${route}`
    )
    t.match((await post(route, who, 'two words', kept)).json(), { status: 400, code: 'IDEMPOTENCY_KEY_INVALID' }, route)

    const lock = await sql.reserve()
    await lock`select pg_advisory_lock(hashtextextended(${`idempotency|${who.tenantId}|in-flight`}, 0))`
    const busy = await post(route, who, 'in-flight', kept)
    await lock`select pg_advisory_unlock_all()`
    lock.release()
    t.match(busy.json(), { status: 409, code: 'IDEMPOTENCY_IN_FLIGHT' }, `${route} while the first one is at work`)
    t.equal(busy.headers['retry-after'], '1')
  }
})

t.test('the list names no route that is gone', async (t) => {
  t.strictSame(
    Object.keys(withoutKey).filter((route) => !creating.includes(route)),
    []
  )
})

/** Where an array of a body has no bound; a reference is followed once. */
function unbounded(shape: unknown, path: string, seen: Set<unknown> = new Set()): string[] {
  if (typeof shape !== 'object' || shape === null || seen.has(shape)) return []
  seen.add(shape)
  const { type, maxItems, $ref } = shape as Shape
  if (typeof $ref === 'string') {
    const target = $ref
      .split('/')
      .slice(1)
      .reduce<unknown>((at, key) => Object(at)[key], document)
    return unbounded(target, path, seen)
  }
  const own = type === 'array' && maxItems === undefined ? [path] : []
  return [...own, ...Object.entries(shape).flatMap(([key, value]) => unbounded(value, `${path}/${key}`, seen))]
}

t.test('every array in a body has a largest length', async (t) => {
  t.strictSame(unbounded({ type: 'object', properties: { a: { type: 'array' } } }, ''), ['/properties/a'])
  const bodies = operations.flatMap(({ name, operation }) =>
    Object.values(operation.requestBody?.content ?? {}).map(({ schema }) => ({ name, schema }))
  )
  t.ok(bodies.length > 3)
  t.strictSame(
    bodies.flatMap(({ name, schema }) => unbounded(schema, name)),
    []
  )
})
