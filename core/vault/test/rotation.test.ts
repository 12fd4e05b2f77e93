import { randomBytes } from 'node:crypto'
import t from 'tap'
import { buildApp } from '#core/app.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { type KeyWrapper, LocalKeys, vaultKeys } from '#core/vault/keys.ts'
import { KekRotation } from '#core/vault/rotation.ts'
import { Vault } from '#core/vault/vault.ts'
import { testApp } from '#test/support/app.ts'
import { runNode } from '#test/support/run-node.ts'
import { until } from '#test/support/until.ts'

const server = await testApp(t)
const { app, db, sql, clock, log, secrets } = server
const skill = '@acme/weather'
const tenants: string[] = []
let list = '1:derived'
/** The current version. */
let version = 1

/** As one more key arrives: the list of every host from now on. */
function nextKek(): Vault {
  version += 1
  list = `${version}:${randomBytes(32).toString('base64')},${list}`
  return host()
}

function host(wrapper: KeyWrapper = vaultKeys(secrets.kek, new Secret(list)).wrapper): Vault {
  return new Vault({ db, clock, log, keys: { ...vaultKeys(secrets.kek), wrapper } })
}

async function wrong(vault: Vault): Promise<string[]> {
  const values = await Promise.all(
    tenants.map((tenantId) => db.tenant(tenantId, (tx) => vault.reveal(tx, 'TOKEN', { skill })))
  )
  return values.flatMap((value, n) =>
    value.reveal() === `value of ${tenants[n]}` ? [] : [must(tenants[n], 'a tenant')]
  )
}

t.before(async () => {
  for (let n = 0; n < 12; n++) {
    const { tenantId } = await server.makeTenant()
    await db.tenant(tenantId, async (tx) => {
      await app.vault.put(tx, 'TOKEN', new Secret(`value of ${tenantId}`))
      await app.vault.grant(tx, 'TOKEN', { kind: 'skill', grantee: skill }, null)
    })
    tenants.push(tenantId)
  }
})

t.test("a rotation moves the data keys and touches no secret; each is a row in its tenant's audit log", async (t) => {
  const sealed = () => sql`select id, sealed, generation, version from vault.secret order by id`
  const before = await sealed()
  const vault = nextKek()
  t.match(await vault.rotation.status(), {
    current: 2,
    remaining: 12,
    versions: [
      { version: 2, dataKeys: 0, configured: true },
      { version: 1, dataKeys: 12, configured: true }
    ]
  })
  t.strictSame(await wrong(vault), [], 'before')
  t.strictSame(await vault.rotation.run(), { rewrapped: 12, failed: 0 })
  t.strictSame(await sealed(), before)
  const alone = host(new LocalKeys([[2, new Secret(list.split(/[:,]/)[1] ?? '')]]))
  t.strictSame(await wrong(alone), [], 'without the old key')
  await alone.rotation.start()
  const rows = await sql`
    select tenant_id, actor_kind, details from audit.entry where action = 'data_key.rewrapped' and subject = 'data_key:1'`
  t.strictSame(rows.map((row) => row.tenant_id).sort(), [...tenants].sort())
  t.match(rows[0], { actor_kind: 'system', details: { from: 1, to: 2 } })
  t.strictSame(await vault.rotation.run(), { rewrapped: 0, failed: 0 }, 'a second time there is nothing to do')
})

t.test('killed in the middle, it is gone on with by another host, and every key opens', async (t) => {
  const vault = nextKek()
  const path = 'core/vault/test/rotation-child.ts'
  const child = runNode(t, path, [server.appUrl, server.systemUrl, server.secret.reveal(), list], {})
  await child.says(/key 5/)
  await child.end('SIGKILL')
  t.equal((await vault.rotation.status()).remaining, 8)
  t.strictSame(await wrong(vault), [], 'half way')
  t.strictSame(await vault.rotation.run(), { rewrapped: 8, failed: 0 })
  t.strictSame(await wrong(vault), [])
})

t.test('two hosts at once move each key once', async (t) => {
  nextKek()
  const { wrapper } = vaultKeys(secrets.kek, new Secret(list))
  const hosts = [1, 2].map(() => new KekRotation({ db, clock, log, wrapper, batch: 2 }))
  const outcomes = await Promise.all(hosts.map((one) => one.run()))
  t.equal(
    outcomes.reduce((sum, { rewrapped }) => sum + rewrapped, 0),
    12
  )
  const { count } = await sql`select 1 from audit.entry where action = 'data_key.rewrapped' and details ->> 'to' = '4'`
  t.equal(count, 12)
  t.strictSame(await wrong(host()), [])
})

t.test('secrets are put and used meanwhile, and a key that a transaction holds is come back for', async (t) => {
  const before = host()
  const vault = nextKek()
  let over = false
  const load = tenants.slice(1).map(async (tenantId) => {
    for (let n = 0; n === 0 || !over; n++) {
      // Half of them on a host that does not wrap with the new key yet.
      const by = n % 2 === 0 ? vault : before
      await db.tenant(tenantId, (tx) => vault.put(tx, 'TOKEN', new Secret(`value of ${tenantId}`)))
      if (by === vault) await db.tenant(tenantId, (tx) => by.reveal(tx, 'TOKEN', { skill }))
    }
  })
  let rotated: Promise<unknown> = Promise.resolve()
  await db.tenant(must(tenants[0], 'a tenant'), async (tx) => {
    await vault.put(tx, 'TOKEN', new Secret(`value of ${tenants[0]}`))
    rotated = vault.rotation.run()
    await until(async () => (await vault.rotation.status()).remaining === 1, 'all but the one that is held')
  })
  t.strictSame(await rotated, { rewrapped: 12, failed: 0 })
  over = true
  await Promise.all(load)
  t.strictSame(await wrong(vault), [])
})

t.test('a damaged data key stays as it is and holds up no other', async (t) => {
  const vault = nextKek()
  const [first = ''] = tenants
  const [row] = await sql`select wrapped from vault.data_key where tenant_id = ${first}`
  await sql`update vault.data_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) where tenant_id = ${first}`
  t.strictSame(await vault.rotation.run(), { rewrapped: 11, failed: 1 })
  t.ok(server.lines.some((line) => line.includes('does not unwrap') && line.includes(first)))
  await sql`update vault.data_key set wrapped = ${must(row, 'the key').wrapped} where tenant_id = ${first}`
  t.strictSame(await vault.rotation.run(), { rewrapped: 1, failed: 0 })
  t.strictSame(await wrong(vault), [])
})

t.test(
  'a server refuses to start without a version that is in use, and with another key under its number',
  async (t) => {
    const other = new Secret(randomBytes(32).toString('base64'))
    await t.rejects(host(new LocalKeys([[99, other]])).rotation.start(), {
      code: 'VAULT_KEK_MISSING',
      message: new RegExp(`version ${version},`)
    })
    await t.rejects(host(new LocalKeys([[version, other]])).rotation.start(), {
      code: 'VAULT_KEK_WRONG',
      message: new RegExp(`version ${version}:`)
    })
  }
)

t.test('damaged data keys of some tenants keep no server from starting while one opens', async (t) => {
  const ordered = await sql`select tenant_id from vault.data_key order by tenant_id`
  const [spared] = ordered.splice(6, 1)
  await sql`create table public.kept as select * from vault.data_key`
  await sql`
    insert into vault.data_key (tenant_id, generation, kek_version, wrapped)
    select tenant_id, generation + n, kek_version, wrapped from vault.data_key, generate_series(1, 60) n
    where tenant_id <> ${must(spared, 'a tenant').tenant_id}`
  await sql`
    update vault.data_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)
    where tenant_id <> ${must(spared, 'a tenant').tenant_id}`
  await host().rotation.start()
  const other = new Secret(randomBytes(32).toString('base64'))
  await t.rejects(host(new LocalKeys([[version, other]])).rotation.start(), { code: 'VAULT_KEK_WRONG' })
  await sql`delete from vault.data_key where generation > 1`
  await sql`update vault.data_key k set wrapped = o.wrapped from public.kept o where o.tenant_id = k.tenant_id`
  t.strictSame(await wrong(host()), [])
})

t.test('a start with a newer key begins the rotation by itself; an older one undoes nothing', async (t) => {
  const older = host()
  const vault = nextKek()
  await vault.rotation.start()
  await until(async () => (await vault.rotation.status()).remaining === 0, 'the rotation is done')
  const both = vaultKeys(secrets.kek, new Secret(list)).wrapper
  const behind = new KekRotation({ db, clock, log, wrapper: Object.assign(Object.create(both), { current: 1 }) })
  t.strictSame(await behind.run(), { rewrapped: 0, failed: 0 })
  await t.rejects(older.rotation.start(), { code: 'VAULT_KEK_MISSING' }, 'and without the new key there is no start')
  await vault.rotation.stop()
})

t.test('an operator begins a rotation and sees how far it is; the tenants see in whose name', async (t) => {
  const zero = await server.makeTenant({ id: TENANT_ZERO, scopes: ['platform:vault'] })
  const plain = await server.makeTenant({ scopes: ['*'] })
  const kernel = { log, clock, db, auth: server.auth, vault: nextKek() }
  const next = await buildApp({ kernel: kernel, rooms: [] })
  t.teardown(() => next.close())
  const at = (method: 'GET' | 'POST', { headers }: { headers: object }) =>
    next.inject({ method, url: '/v1/platform/vault/rotation', headers: { ...headers } })
  for (const method of ['GET', 'POST'] as const) t.equal((await at(method, plain)).statusCode, 403)
  const started = await at('POST', zero)
  t.match(
    { status: started.statusCode, body: started.json() },
    { status: 202, body: { current: version, remaining: 12 } }
  )
  t.equal(started.headers.location, '/v1/platform/vault/rotation')
  await until(async () => (await at('GET', zero)).json().remaining === 0, 'the rotation is done')
  const asked =
    await sql`select subject from audit.entry where tenant_id = ${TENANT_ZERO} and action = 'kek.rotation_asked'`
  t.strictSame(
    asked.map(({ subject }) => subject),
    [`kek:${version}`]
  )
  const rows = await sql`
    select distinct actor_kind, actor_id = (select id::text from core.api_key where tenant_id = ${TENANT_ZERO}) as theirs
    from audit.entry where action = 'data_key.rewrapped' and details ->> 'to' = ${String(version)}`
  t.strictSame(
    rows.map((row) => ({ ...row })),
    [{ actor_kind: 'operator', theirs: true }]
  )
})
