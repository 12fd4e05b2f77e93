import { randomBytes } from 'node:crypto'
import t from 'tap'
import { DatabaseUnavailable } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { type KeyWrapper, LocalKeys, vaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { testApp } from '#test/support/app.ts'

const server = await testApp(t)
const { app, db, sql, clock, log } = server
const { vault } = app
const skill = '@acme/weather'

async function tenant(): Promise<string> {
  return (await server.makeTenant()).tenantId
}

/** A secret that the skill may use. */
async function put(tenantId: string, name: string, value: string): Promise<void> {
  await db.tenant(tenantId, async (tx) => {
    await vault.put(tx, name, new Secret(value))
    await vault.grant(tx, name, { kind: 'skill', grantee: skill }, null)
  })
}

async function reveal(tenantId: string, name: string, version?: 'previous', by = vault): Promise<string> {
  return (await db.tenant(tenantId, (tx) => by.reveal(tx, name, { skill }, version))).reveal()
}

t.test('a secret comes back as it was put, for whoever holds a grant', async (t) => {
  const a = await tenant()
  const value = `ümlaut "quoted" \\ \n ${randomBytes(60_000).toString('base64').slice(0, 60_000)}`
  await put(a, 'TOKEN', value)
  t.equal(await reveal(a, 'TOKEN'), value)
  const revealed = await db.tenant(a, (tx) => vault.reveal(tx, 'TOKEN', { skill }))
  t.equal(`${revealed} ${JSON.stringify({ revealed })}`, '[secret] {"revealed":"[secret]"}')
})

t.test(
  'without a grant of everybody who is named, and for another host, it is refused like an absent one',
  async (t) => {
    const [a, b] = [await tenant(), await tenant()]
    await put(a, 'TOKEN', 'value of a')
    await db.tenant(a, (tx) => vault.grant(tx, 'TOKEN', { kind: 'agent', grantee: 'analyst' }, ['api.example.com']))
    const ask = (tenantId: string, name: string, use: object) =>
      db
        .tenant(tenantId, (tx) => vault.reveal(tx, name, use))
        .then(
          (value) => value.reveal(),
          ({ code, message }) => `${code} ${message.replaceAll(name, '<name>')}`
        )
    const host = 'api.example.com'
    t.equal(await ask(a, 'TOKEN', { skill }), 'value of a')
    t.equal(await ask(a, 'TOKEN', { skill, agent: 'analyst', host }), 'value of a')
    t.equal(await ask(a, 'TOKEN', { agent: 'analyst', host }), 'value of a')
    const refused: [string, string, object][] = [
      [a, 'TOKEN', { skill, agent: 'other', host }],
      [a, 'TOKEN', { skill, agent: 'analyst', host: 'evil.example' }],
      [a, 'TOKEN', { skill, agent: 'analyst' }],
      [a, 'TOKEN', { skill: 'analyst' }],
      [a, 'TOKEN', { agent: skill }],
      [a, 'TOKEN', {}]
    ]
    for (const who of refused) t.match(await ask(...who), /^VAULT_NOT_GRANTED /, JSON.stringify(who[2]))
    const ungranted = await ask(a, 'TOKEN', { skill: '@acme/other' })
    t.match(ungranted, /^VAULT_NOT_GRANTED /)
    t.equal(await ask(a, 'ABSENT', { skill: '@acme/other' }), ungranted, 'absent')
    t.equal(await ask(b, 'TOKEN', { skill: '@acme/other' }), ungranted, "another tenant's")
    await db.tenant(a, (tx) => vault.revoke(tx, 'TOKEN', { kind: 'skill', grantee: skill }))
    t.match(await ask(a, 'TOKEN', { skill }), /^VAULT_NOT_GRANTED /, 'taken back')
  }
)

t.test('a rotation keeps the previous value until the next change; a put keeps none', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'first')
  await t.rejects(reveal(a, 'TOKEN', 'previous'), { code: 'VAULT_NOT_GRANTED' })
  const rotate = (value: string) => db.tenant(a, (tx) => vault.rotate(tx, 'TOKEN', new Secret(value)))
  t.match(await rotate('second'), { version: 2, hasPrevious: true })
  t.equal(`${await reveal(a, 'TOKEN')} ${await reveal(a, 'TOKEN', 'previous')}`, 'second first')
  await rotate('third')
  t.equal(`${await reveal(a, 'TOKEN')} ${await reveal(a, 'TOKEN', 'previous')}`, 'third second')
  await put(a, 'TOKEN', 'fourth')
  t.equal(await reveal(a, 'TOKEN'), 'fourth')
  await t.rejects(reveal(a, 'TOKEN', 'previous'), { code: 'VAULT_NOT_GRANTED' })
  const { count } = await sql`
    select 1 from vault.secret where tenant_id = ${a} and name = 'TOKEN' and previous_sealed is null and version = 4`
  t.equal(count, 1)
})

t.test('puts of one name at once end as versions one after the other', async (t) => {
  const a = await tenant()
  await Promise.all(
    ['x', 'y', 'z', 'w'].map((value) => db.tenant(a, (tx) => vault.put(tx, 'TOKEN', new Secret(value))))
  )
  const [row] = await sql`
    select s.version, k.used::int, (select count(*)::int from vault.data_key where tenant_id = ${a}) as keys
    from vault.secret s join vault.data_key k using (tenant_id, generation) where tenant_id = ${a}`
  t.strictSame({ ...row }, { version: 4, used: 4, keys: 1 })
})

t.test('a row moved to another tenant, name or version does not open, nor does a changed one', async (t) => {
  const [a, b] = [await tenant(), await tenant()]
  await put(a, 'TOKEN', 'value of a')
  await put(a, 'OTHER', 'other of a')
  await put(b, 'TOKEN', 'value of b')
  const one = (tenantId: string, name: string) => sql`tenant_id = ${tenantId} and name = ${name}`
  const take = (from: string, name: string) => sql`(select sealed from vault.secret where ${one(from, name)})`
  const swaps: [string, Parameters<typeof sql>[0] | unknown][] = [
    ["another name's value", sql`update vault.secret set sealed = ${take(a, 'OTHER')} where ${one(a, 'TOKEN')}`],
    ["another tenant's value", sql`update vault.secret set sealed = ${take(b, 'TOKEN')} where ${one(a, 'TOKEN')}`],
    ['another version', sql`update vault.secret set version = 2 where ${one(a, 'TOKEN')}`],
    ['an older value', sql`update vault.secret set sealed = previous_sealed where ${one(a, 'TOKEN')}`],
    ['another name', sql`update vault.secret set name = 'RENAMED' where ${one(a, 'TOKEN')}`],
    [
      'one bit',
      sql`update vault.secret set sealed = set_bit(sealed, 200, 1 - get_bit(sealed, 200)) where ${one(a, 'TOKEN')}`
    ],
    [
      "another tenant's data key too",
      sql`with k as (update vault.data_key set wrapped = (select wrapped from vault.data_key where tenant_id = ${b})
                     where tenant_id = ${a} returning 1)
          update vault.secret set sealed = ${take(b, 'TOKEN')} where ${one(a, 'TOKEN')} and (select count(*) from k) = 1`
    ]
  ]
  for (const [what, swap] of swaps) {
    await db.tenant(a, (tx) => vault.rotate(tx, 'TOKEN', new Secret('value of a')))
    const rows = await sql`select * from vault.secret where tenant_id = ${a}`
    const keys = await sql`select * from vault.data_key where tenant_id = ${a}`
    await (swap as Promise<unknown>)
    const name = what === 'another name' ? 'RENAMED' : 'TOKEN'
    await t.rejects(
      reveal(a, name),
      { code: 'VAULT_UNREADABLE', message: new RegExp(`${name} .*does not (open|unwrap)`) },
      what
    )
    for (const { wrapped } of keys) await sql`update vault.data_key set wrapped = ${wrapped} where tenant_id = ${a}`
    for (const row of rows)
      await sql`update vault.secret set ${sql(row, 'name', 'version', 'sealed')} where id = ${row.id as string}`
    t.equal(await reveal(a, 'TOKEN'), 'value of a', 'and put back, it does')
  }
})

t.test('what a backup holds of a secret that was deleted does not open in its successor', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'of before')
  const [old] = await sql`select version, sealed from vault.secret where tenant_id = ${a}`
  await db.tenant(a, (tx) => vault.remove(tx, 'TOKEN'))
  await put(a, 'TOKEN', 'of today')
  const where = sql`where tenant_id = ${a} and version = ${must(old, 'the old row').version}`
  t.equal((await sql`update vault.secret set sealed = ${must(old, 'the old row').sealed} ${where}`).count, 1)
  await t.rejects(reveal(a, 'TOKEN'), { code: 'VAULT_UNREADABLE' })
})

t.test('another key encryption key under the same number opens nothing, a missing one is named', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'value')
  const other = new Secret(randomBytes(32).toString('base64'))
  const wrong = new Vault({ db, clock, log, keys: vaultKeys(other) })
  await t.rejects(reveal(a, 'TOKEN', undefined, wrong), {
    code: 'VAULT_UNREADABLE',
    message: /data key does not unwrap/
  })
  const keys = { ...vaultKeys(other), wrapper: new LocalKeys([[7, other]]) }
  const without = new Vault({ db, clock, log, keys })
  const away = Object.assign(Object.create(vault.wrapper), {
    unwrap: async () => {
      throw new DatabaseUnavailable('the KMS does not answer')
    }
  })
  await t.rejects(reveal(a, 'TOKEN', undefined, new Vault({ db, clock, log, keys: { ...keys, wrapper: away } })), {
    code: DatabaseUnavailable.code
  })
  await t.rejects(reveal(a, 'TOKEN', undefined, without), { code: 'VAULT_KEK_MISSING', message: /version 1,/ })
})

t.test('data keys are zeroed when the work with them is done', async (t) => {
  const seen: Uint8Array[] = []
  const spy: KeyWrapper = {
    current: 1,
    versions: new Set([1]),
    async wrap(tenantId, dataKey) {
      seen.push(dataKey)
      return await vault.wrapper.wrap(tenantId, dataKey)
    },
    async unwrap(tenantId, wrapped, version) {
      const key = await vault.wrapper.unwrap(tenantId, wrapped, version)
      t.ok(key.some((byte) => byte !== 0))
      seen.push(key)
      return key
    }
  }
  const watched = new Vault({ db, clock, log, keys: { ...vaultKeys(server.secrets.kek), wrapper: spy } })
  const a = await tenant()
  await db.tenant(a, (tx) => watched.put(tx, 'TOKEN', new Secret('value')))
  await db.tenant(a, (tx) => watched.grant(tx, 'TOKEN', { kind: 'skill', grantee: skill }, null))
  t.equal(await reveal(a, 'TOKEN', undefined, watched), 'value')
  await sql`update vault.secret set sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1) where tenant_id = ${a}`
  await t.rejects(reveal(a, 'TOKEN', undefined, watched))
  t.equal(seen.length, 4)
  t.notOk(seen.some((key) => key.some((byte) => byte !== 0)))
})

t.test('a data key that sealed its share is followed by another, and values move as they are read', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'value')
  await db.tenant(a, (tx) => vault.rotate(tx, 'TOKEN', new Secret('newer')))
  await put(a, 'UNREAD', 'unread')
  await sql`update vault.data_key set used = ${2 ** 32 - 1} where tenant_id = ${a}`
  await Promise.all(['X', 'Y', 'Z'].map((name) => put(a, name, name)))
  const generations = async () =>
    Object.fromEntries(
      (await sql`select name, generation from vault.secret where tenant_id = ${a}`).map((row) => [
        row.name,
        row.generation
      ])
    )
  t.strictSame(await generations(), { TOKEN: 1, UNREAD: 1, X: 2, Y: 2, Z: 2 })
  t.equal(await reveal(a, 'TOKEN'), 'newer')
  t.equal(await reveal(a, 'TOKEN', 'previous'), 'value')
  t.strictSame(await generations(), { TOKEN: 2, UNREAD: 1, X: 2, Y: 2, Z: 2 })
  t.equal(await reveal(a, 'TOKEN'), 'newer')
  t.equal(await reveal(a, 'UNREAD'), 'unread')
  const [key] = await sql`select used from vault.data_key where tenant_id = ${a} and generation = 2`
  t.equal(key?.used, 5n)
})

t.test('who reveals waits for nobody, also where the value is to move to the next data key', async (t) => {
  const a = await tenant()
  for (const name of ['TOKEN', 'OTHER']) await put(a, name, name)
  await sql`update vault.data_key set used = ${2 ** 32 - 1} where tenant_id = ${a}`
  await put(a, 'NEXT', 'makes the next generation')
  const generation = async (name: string) =>
    (await sql`select generation from vault.secret where tenant_id = ${a} and name = ${name}`)[0]?.generation
  await db.tenant(a, async (tx) => {
    await vault.put(tx, 'OTHER', new Secret('holds the data key'))
    t.equal(await reveal(a, 'TOKEN'), 'TOKEN')
    await vault.put(tx, 'TOKEN', new Secret('TOKEN'))
  })
  t.equal(await generation('TOKEN'), 2, 'by the put')
  await sql`update vault.data_key set used = ${2 ** 32 - 1} where tenant_id = ${a}`
  await put(a, 'NEXT', 'makes one more')
  await db.tenant(a, async (tx) => {
    await vault.grant(tx, 'TOKEN', { kind: 'agent', grantee: 'holds the secret' }, null)
    t.equal(await reveal(a, 'TOKEN'), 'TOKEN')
  })
  t.equal(await generation('TOKEN'), 2, 'it was held')
  await reveal(a, 'TOKEN')
  t.equal(await generation('TOKEN'), 3)
})

t.test("a tenant's own session counts the use of a data key and changes nothing else of it", async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'value')
  const attempts = [
    'update vault.data_key set kek_version = 99',
    `update vault.data_key set wrapped = decode(repeat('00', 61), 'hex')`,
    'update vault.data_key set generation = 7',
    `insert into vault.data_key (generation, kek_version, wrapped) values (2, 1, decode(repeat('00', 61), 'hex'))`,
    'delete from vault.data_key'
  ]
  for (const attempt of attempts)
    await t.rejects(
      db.tenant(a, (tx) => tx.unsafe(attempt)),
      /permission denied/,
      attempt
    )
  await db.tenant(a, (tx) => tx`update vault.data_key set used = used + 1`)
  await vault.rotation.start()
  t.equal(await reveal(a, 'TOKEN'), 'value')
})

t.test('the last use is noted to the minute, and nobody waits for whoever notes it', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'value')
  await db.tenant(a, async (tx) => {
    await vault.reveal(tx, 'TOKEN', { skill })
    t.equal(await reveal(a, 'TOKEN'), 'value', 'while the first transaction is open')
  })
  const { lastUsedAt } = await db.tenant(a, (tx) => vault.find(tx, 'TOKEN'))
  await reveal(a, 'TOKEN')
  t.strictSame((await db.tenant(a, (tx) => vault.find(tx, 'TOKEN'))).lastUsedAt, must(lastUsedAt, 'a last use'))
})

t.test('after a shred nothing of the tenant opens, also from a copy of its rows; others keep theirs', async (t) => {
  const [a, b] = [await tenant(), await tenant()]
  await put(a, 'TOKEN', 'value of a')
  await put(b, 'TOKEN', 'value of b')
  await sql`create table public.stolen as select * from vault.secret where tenant_id = ${a}`
  await sql`create table public.stolen_grant as select * from vault.secret_grant where tenant_id = ${a}`
  t.equal(await db.system((tx) => vault.shred(tx, a)), 1)
  t.equal((await sql`select 1 from vault.secret where tenant_id = ${a}`).count, 0)
  const restore = async () => {
    await sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica` // past the foreign keys
      await tx`insert into vault.secret select * from public.stolen`
      await tx`insert into vault.secret_grant select * from public.stolen_grant`
    })
  }
  await restore()
  await t.rejects(reveal(a, 'TOKEN'), { code: 'VAULT_UNREADABLE', message: /its data key is gone/ })
  await sql`delete from vault.secret where tenant_id = ${a}`
  await put(a, 'NEW', 'a new data key of the same generation')
  await restore()
  await t.rejects(reveal(a, 'TOKEN'), { code: 'VAULT_UNREADABLE' })
  t.equal(await reveal(b, 'TOKEN'), 'value of b')
  t.equal(await db.system((tx) => vault.shred(tx, newId())), 0)
})

t.test('a tenant keeps a thousand secrets at most, and a secret a hundred grants', async (t) => {
  const a = await tenant()
  await put(a, 'TOKEN', 'value')
  await sql`
    insert into vault.secret (tenant_id, id, name, version, generation, sealed)
    select ${a}, gen_random_uuid(), 'N' || n, 1, 1, '' from generate_series(1, 999) n`
  await t.rejects(put(a, 'ONE_MORE', 'x'), { code: 'VAULT_FULL', details: { limit: 1000 } })
  await put(a, 'TOKEN', 'a new value of one that is there')
  await sql`
    insert into vault.secret_grant (tenant_id, secret_id, kind, grantee)
    select tenant_id, id, 'agent', 'agent ' || n from vault.secret, generate_series(1, 99) n
    where tenant_id = ${a} and name = 'TOKEN'`
  const grant = (grantee: string) => db.tenant(a, (tx) => vault.grant(tx, 'TOKEN', { kind: 'agent', grantee }, null))
  await t.rejects(grant('one more'), { code: 'VAULT_FULL', details: { limit: 100 } })
  await grant('agent 7')
})
