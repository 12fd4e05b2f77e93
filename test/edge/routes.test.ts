import t, { type Test } from 'tap'
import { must } from '#core/must.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import type { TestTenant } from '#test/support/app.ts'
import { routeRows } from '#test/tenancy/support/route-rows.ts'
import { world } from '#test/tenancy/support/world.ts'

// What every route of this server keeps at the edge, whoever wrote it: walked through the document that it gives out.

const server = await world(t)
const { app, sql } = server
const who = await server.citizen('edge')
const zero = await server.makeTenant({ id: TENANT_ZERO, slug: 'zero', scopes: ['platform:*'] })
const ownerless = await server.makeTenant()
await sql`delete from core.api_key where tenant_id = ${ownerless.tenantId}`

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
  'POST /v1/platform/vault/rotation': 'one rotation at a time: a repeat joins it',
  'POST /v1/sessions/:id/run': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/pause': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/resume': 'a command: the state decides what a repeat does',
  'POST /v1/sessions/:id/cancel': 'a command: the state decides what a repeat does'
}

const creating = operations
  .filter(({ name, operation }) => name.startsWith('POST ') && (operation.responses[201] || operation.responses[202]))
  .map(({ name }) => name)

/** What Tenant Zero asks for; the rows of these routes ask without a body. */
const operators: Readonly<Record<string, () => { payload: object; params?: Record<string, string> }>> = {
  'POST /v1/platform/tenants': () => ({ payload: { name: 'New', slug: `new-${++made}`, plan: 'pro' } }),
  'POST /v1/platform/tenants/:id/owner': () => ({
    payload: { email: 'first@example.com' },
    params: { id: ownerless.tenantId }
  })
}
let made = 0

async function post(route: string, asking: TestTenant, key: string, kept?: ReturnType<typeof requestOf>) {
  const row = must(routeRows[route], `a row of ${route} in test/tenancy/support/rows`)
  const params: Record<string, string> = operators[route]?.().params ?? (await row.own?.(server, who)) ?? {}
  const url = (route.split(' ')[1] ?? '').replace(/:(\w+)/g, (_all, name) => encodeURIComponent(params[name] ?? ''))
  const { payload, headers } = kept ?? requestOf(route)
  return await app.inject({
    method: 'POST',
    url,
    headers: { ...asking.headers, ...headers, 'idempotency-key': key },
    ...(payload === undefined ? {} : { payload })
  })
}
const requestOf = (route: string): { payload?: object | Buffer; headers?: Record<string, string> } =>
  operators[route]?.() ?? routeRows[route]?.request?.(who) ?? {}

t.test('every POST that creates takes an Idempotency-Key, or is on the list with its reason', async (t) => {
  const keyed = creating.filter((route) => !(route in withoutKey))
  const isPlatform = (route: string) => route.includes('/v1/platform/')
  const own = keyed.filter((route) => !isPlatform(route))
  const platform = keyed.filter(isPlatform)
  t.ok(own.length >= 4)
  t.ok(platform.length >= 2)
  // A key is its tenant's: the other route that it is tried on is one of the same asker.
  await walk(t, own, who)
  await walk(t, platform, zero)
})

async function walk(t: Test, keyed: readonly string[], asking: TestTenant) {
  for (const [index, route] of keyed.entries()) {
    const key = `key-of-route-${index}`
    const kept = requestOf(route)
    const first = await post(route, asking, key, kept)
    t.ok(first.statusCode < 300, `${route}: ${first.statusCode} ${first.body.slice(0, 200)}`)
    const again = await post(route, asking, key, kept)
    if (again.statusCode === 409) t.equal(again.json().code, 'IDEMPOTENCY_SHOWN_ONCE', `${route} keeps its secret`)
    else {
      t.strictSame([again.statusCode, again.body], [first.statusCode, first.body], `${route} answers the same again`)
      t.equal(again.headers['idempotency-replayed'], 'true', `${route} says that it did`)
    }
    const other = must(keyed.at(index - 1), 'another route')
    t.match(
      (await post(other, asking, key)).json(),
      { status: 422, code: 'IDEMPOTENCY_KEY_REUSED' },
      `${other}, not ${route}`
    )
    t.match(
      (await post(route, asking, 'two words', kept)).json(),
      { status: 400, code: 'IDEMPOTENCY_KEY_INVALID' },
      route
    )

    const lock = await sql.reserve()
    await lock`select pg_advisory_lock(hashtextextended(${`idempotency|${asking.tenantId}|in-flight`}, 0))`
    const busy = await post(route, asking, 'in-flight', kept)
    await lock`select pg_advisory_unlock_all()`
    lock.release()
    t.match(busy.json(), { status: 409, code: 'IDEMPOTENCY_IN_FLIGHT' }, `${route} while the first one is at work`)
    t.equal(busy.headers['retry-after'], '1')
  }
}

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
