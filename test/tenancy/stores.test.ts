import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { join as joinTenant } from '#core/auth/test/support.ts'
import { createUser } from '#core/auth/users.ts'
import { systemClock } from '#core/clock.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { Sandbox } from '#sandbox/index.ts'
import { call } from '#sandbox/test/support.ts'
import { Search } from '#test/sinks/support/search.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'
import { type Citizen, manual, type World, world } from './support/world.ts'

// The tables are the matrix's business; this is every other place in which a tenant's things are kept or written.

const a = '01900000-0000-7000-8000-00000000000a'
const b = '01900000-0000-7000-8000-00000000000b'

t.test('an object has one address, under its own tenant: no other spelling reaches it', async (t) => {
  const dir = join(t.testdir(), 'objects')
  const store = new FileObjectStore({ dir })
  const { digest } = await store.put(a, Buffer.from('of a'))
  await t.rejects(store.get(b, digest), { code: 'OBJECTS_NOT_FOUND' })
  t.equal(await store.has(b, digest), false)
  t.equal(await store.remove(b, digest), false)

  const reachingA = ['', '.', '..', '/', `../${a}`, `${b}/../${a}`, `${b}/..%2f${a}`, `%2e%2e/${a}`, `./${a}`, `${a}/`]
  const spelt = [
    a.toUpperCase(),
    `${a}\0`,
    ` ${a}`,
    encodeURIComponent(`../${a}`),
    `{${a}}`,
    join(dir, a),
    `platform/../${a}`
  ]
  for (const scope of [...reachingA, ...spelt]) {
    for (const use of ['get', 'open', 'has', 'remove'] as const) {
      await t.rejects(
        async () => void (await store[use](scope, digest)),
        { code: 'OBJECTS_ADDRESS_INVALID' },
        JSON.stringify(scope)
      )
    }
    await t.rejects(store.put(scope, Buffer.from('x')), { code: 'OBJECTS_ADDRESS_INVALID' })
  }
  const hex = digest.slice('sha256:'.length)
  const path = `../${a}/${hex.slice(0, 2)}/${hex}`
  for (const odd of [
    path,
    `sha256:${path}`,
    `sha256:../${hex}`,
    `sha256:%2e%2e${hex.slice(6)}`,
    digest.toUpperCase(),
    hex
  ]) {
    await t.rejects(store.get(b, odd), { code: 'OBJECTS_ADDRESS_INVALID' }, odd)
  }
  t.strictSame(await readdir(dir), [a])
  t.equal((await store.get(a, digest)).toString(), 'of a')
})

t.test('a process of the sandbox runs calls of one tenant only, however scarce processes are', async (t) => {
  const sandbox = new Sandbox({ clock: systemClock, maxCells: 2, callsPerCell: 4, idleMs: 50, recycleAfter: 7 })
  t.teardown(() => sandbox.close())
  // Who has calls in which process, looked at from inside each call.
  const seen = new Map<number, Set<string | null>>()
  const look = async () => {
    for (const { pid, tenantId, calls } of sandbox.status().cells) {
      if (calls > 0) seen.set(pid, (seen.get(pid) ?? new Set()).add(tenantId))
    }
    return '{}'
  }
  const left = await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      const tenantId = `tenant-${n % 5}`
      const code = `globalThis.mine ??= ${JSON.stringify(tenantId)}
        export const run = async (_, ctx) => { await ctx.progress(1); return globalThis.mine }`
      const what = call(code, { tenantId, sessionId: `${tenantId}-${n % 3}`, onHostCall: look, verified: n % 2 === 0 })
      return [tenantId, JSON.parse((await sandbox.run(what)).output)]
    })
  )
  t.ok(
    left.every(([tenant, found]) => tenant === found),
    'each call found its own tenant in its globals'
  )
  t.ok(seen.size >= 5, `${seen.size} processes`)
  for (const [pid, tenants] of seen) t.equal(tenants.size, 1, `${pid}: ${[...tenants]}`)
  t.equal(sandbox.status().counts.shared, 0)
})

t.test('caches, objects and the log of a whole server', async (t) => {
  const server = await world(t)
  const citizens = [await server.citizen('ada'), await server.citizen('bob')] as const
  const [ada, bob] = citizens

  await t.test('large outputs stand under their tenant, and hold its words only', (t) =>
    largeOutputs(t, server, citizens)
  )

  await t.test('what auth remembers of a user in one tenant is not believed in another', async (t) => {
    const { id } = await server.db.system((tx) =>
      createUser(tx, { email: 'eve@example.com', password: cheapHash('a long password') })
    )
    await joinTenant(server, ada.tenantId, id, 'admin')
    await joinTenant(server, bob.tenantId, id, 'viewer')
    const cyd = await server.makeTenant()
    const credentials = { email: 'eve@example.com', password: 'a long password' }
    const login = await server.app.inject({ method: 'POST', url: '/v1/auth/token', payload: credentials })
    const authorization = `Bearer ${login.json().accessToken}`
    const roles: Record<string, string> = { [ada.tenantId]: 'admin', [bob.tenantId]: 'viewer' }
    const asked = Array.from({ length: 150 }, (_, n) => [ada, bob, cyd][n % 3]?.tenantId ?? '')
    const answers = await Promise.all(
      asked.map((tenant) =>
        server.app.inject({ url: '/v1/whoami', headers: { authorization, 'agentos-tenant': tenant } })
      )
    )
    for (const [n, answer] of answers.entries()) {
      const tenantId = asked[n] ?? ''
      const role = roles[tenantId]
      if (role === undefined) t.equal(answer.statusCode, 403)
      else t.match(answer.json(), { tenantId, role })
    }
    const key = await Promise.all(
      [ada, bob, ada].map(({ tenantId }) =>
        server.app.inject({ url: '/v1/whoami', headers: { ...ada.headers, 'agentos-tenant': tenantId } })
      )
    )
    t.strictSame(
      key.map(({ statusCode }) => statusCode),
      [200, 403, 200]
    )
  })

  await t.test('an answer that is kept for repetition is its tenant’s', async (t) => {
    const again = await Promise.all(
      [ada, bob, ada, bob].map((who) => {
        const headers = { ...who.headers, 'idempotency-key': 'the-same' }
        return server.app.inject({ method: 'POST', url: '/v1/sessions', headers, payload: manual(who) })
      })
    )
    const ids = again.map((answer) => answer.json().id as string)
    // The second of a tenant may find the first in flight: 409 then.
    t.equal(new Set(ids.filter(Boolean)).size, 2, 'one session each')
    for (const [n, who] of [ada, bob, ada, bob].entries()) {
      if (ids[n])
        t.equal((await server.app.inject({ url: `/v1/sessions/${ids[n]}`, headers: who.headers })).statusCode, 200)
    }
  })

  await t.test('a plan is its tenant’s, also just after it was changed', async (t) => {
    const plans = () =>
      Promise.all(
        citizens.map(
          async ({ headers }) => (await server.app.inject({ url: '/v1/whoami', headers })).json().tenant.plan
        )
      )
    t.strictSame(await plans(), ['pro', 'pro'])
    await server.sql`update core.tenants set plan = 'free' where tenant_id = ${ada.tenantId}`
    t.strictSame(await plans(), ['free', 'pro'])
  })

  await t.test('the log tells nothing that a tenant wrote', async (t) => {
    await errors(server, ada)
    const lines = server.lines.join('')
    t.ok(server.lines.length > 100 && /"level":"debug"/.test(lines))
    const canaries = Object.fromEntries(citizens.map(({ name, canary }) => [name, canary]))
    t.strictSame(new Search({ ...canaries, tool: 'echo-of-ada', email: 'eve@example.com' }).in('log', lines), [])
    t.match(lines, ada.tenantId, 'ids are told')
  })
})

/** Sessions whose outputs are too large for a row; then every folder of the store is read. */
async function largeOutputs(t: Test, server: World, citizens: readonly Citizen[]): Promise<void> {
  for (const who of citizens) {
    const text = `${who.canary} ${randomBytes(40_000).toString('hex')}`
    const { body } = await server.create(who, { ...manual(who), start: undefined, input: { text } })
    await server.reaches(who, body.id, 'COMPLETE')
  }
  const { scopes, strays } = await server.kernel.objects.scopes()
  t.strictSame(scopes.sort(), ['platform', ...citizens.map(({ tenantId }) => tenantId)].sort())
  t.strictSame(strays, [])
  const refs = await server.sql<{ tenantId: string; ref: string }[]>`
    select tenant_id as "tenantId", ref
    from core.journal, lateral (values (record ->> 'outputRef'), (record #>> '{input,ref}')) as r(ref)
    where ref like 'sha256:%'`
  t.ok(refs.length >= citizens.length)
  for (const { tenantId, ref } of refs) {
    for (const who of citizens) t.equal(await server.kernel.objects.has(who.tenantId, ref), who.tenantId === tenantId)
    const content = Buffer.from(await server.kernel.objects.get(tenantId, ref)).toString()
    for (const who of citizens) t.equal(content.includes(who.canary), who.tenantId === tenantId)
  }
}

/** Whatever goes wrong tells the client, with his words in it. */
async function errors(server: World, who: Citizen): Promise<void> {
  const { canary, headers } = who
  const ask = (method: 'GET' | 'POST' | 'PUT', url: string, payload?: object) =>
    server.app.inject({
      method,
      url,
      headers: { ...headers, 'idempotency-key': canary },
      ...(payload ? { payload } : {})
    })
  await ask('GET', `/v1/sessions/${canary}`)
  await ask('GET', `/v1/${canary}?q=${canary}`)
  await ask('POST', '/v1/keys', { name: canary, scopes: [`${canary}:read`], [canary]: 1 })
  await ask('POST', '/v1/invitations', { email: canary, role: canary })
  await ask('PUT', `/v1/secrets/${canary}`, { value: canary })
  await ask('POST', '/v1/skills', { ref: `@${canary}/x@^1` })
  const unknown = [{ id: canary, kind: 'tool', tool: `tool.${canary}` }]
  await ask('POST', '/v1/sessions', { ...manual(who), steps: unknown })
  const broken = [{ id: 'one', kind: 'tool', tool: 'tool.echo', input: { $ref: `input.${canary}` } }]
  const { body } = await server.create(who, { ...manual(who), start: undefined, steps: broken })
  if (body.id) await server.reaches(who, body.id, 'FAILED', 'COMPLETE')
  // A defect of ours with a tenant's words in its message: the row that a constraint refuses.
  await server.sql`alter table core.api_key add constraint broken check (false) not valid`
  await ask('POST', '/v1/keys', { name: canary, scopes: ['keys:read'] })
  await server.sql`alter table core.api_key drop constraint broken`
}
