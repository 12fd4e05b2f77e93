import t from 'tap'
import { testDb } from '#test/support/db.ts'
import { asOwner, makeNotes, tenantA, tenantB } from './notes.ts'

const { db, sql } = await testDb(t)
await makeNotes(sql)

t.test('a transaction without a tenant raises 42501, however the tenant is missing', async (t) => {
  await t.rejects(
    db.system((tx) => tx`select core.tenant()`),
    { code: '42501' },
    'never set'
  )
  for (const garbage of [
    '',
    'x',
    `${tenantA}x`,
    ` ${tenantA}`,
    `{${tenantA}}`,
    tenantA.replaceAll('-', ''),
    "' or 1=1"
  ]) {
    const work = db.tenant(tenantA, async (tx) => {
      await tx`select set_config('agentos.tenant', ${garbage}, true)`
      return tx`select text from lab.note`
    })
    await t.rejects(work, { code: '42501' }, JSON.stringify(garbage))
  }
  const left = db.tenant(tenantA, (tx) => tx`select 1`).then(() => db.tenant(tenantA, (tx) => tx`reset agentos.tenant`))
  await t.resolves(left, 'and the setting itself is nothing worth')
})

t.test('the setting does not outlive its transaction', async (t) => {
  const one = await testDb(t, { open: { appPool: 1, systemPool: 1 } })
  await one.db.tenant(tenantA, (tx) => tx`select 1`)
  const raw = one.sql
  await raw.begin(async (tx) => {
    await tx`select set_config('agentos.tenant', ${tenantA}, true)`
  })
  await t.rejects(raw`select core.tenant()`, { code: '42501' })
})

t.test('a tenant sees and writes its own rows only', async (t) => {
  const [mine] = await db.tenant(tenantA, (tx) => tx`insert into lab.note (text) values ('a') returning tenant_id, id`)
  await db.tenant(tenantB, (tx) => tx`insert into lab.note (text) values ('b')`)
  t.equal(mine?.tenant_id, tenantA)

  t.strictSame([...(await db.tenant(tenantA, (tx) => tx`select text from lab.note`))], [{ text: 'a' }])
  t.strictSame([...(await db.tenant(tenantB, (tx) => tx`select text from lab.note`))], [{ text: 'b' }])
  const none = await db.tenant(tenantB, (tx) => tx`select 1 from lab.note where id = ${mine?.id} for update`)
  t.equal(none.length, 0, 'also by id, also to lock')

  const changed = await db.tenant(tenantB, (tx) => tx`update lab.note set text = 'stolen' where id = ${mine?.id}`)
  t.equal(changed.count, 0)
  const removed = await db.tenant(tenantB, (tx) => tx`delete from lab.note where tenant_id = ${tenantA}`)
  t.equal(removed.count, 0)
  t.strictSame([...(await sql`select text from lab.note order by text`)], [{ text: 'a' }, { text: 'b' }])
})

t.test('a row can be neither written for nor given to another tenant', async (t) => {
  await t.rejects(
    db.tenant(tenantA, (tx) => tx`insert into lab.note (tenant_id, text) values (${tenantB}, 'planted')`),
    { code: '42501' }
  )
  await t.rejects(
    db.tenant(tenantA, (tx) => tx`update lab.note set tenant_id = ${tenantB}`),
    { code: '42501' }
  )
  await t.rejects(
    db.tenant(
      tenantA,
      (tx) => tx`
        insert into lab.note (tenant_id, id) select ${tenantB}, id from lab.note
        on conflict (tenant_id, id) do update set text = 'taken'`
    ),
    { code: '42501' }
  )
  t.equal((await sql`select 1 from lab.note where text in ('planted', 'taken')`).length, 0)
})

t.test('the owner of the tables is bound too', async (t) => {
  await sql.begin(async (tx) => {
    await tx`set local role agentos_owner`
    t.equal((await tx`select 1 from lab.note`).length, 0)
    t.equal((await tx`update lab.note set text = 'x'`).count, 0)
    await t.rejects(
      tx.savepoint((inner) => inner`insert into lab.note (tenant_id) values (${tenantA})`),
      { code: '42501' }
    )
  })
})

t.test('a hundred concurrent transactions of twenty tenants over four connections do not mix', async (t) => {
  const small = await testDb(t, { open: { appPool: 4 } })
  await makeNotes(small.sql)
  const tenants = Array.from(
    { length: 20 },
    (_, i) => `018f0000-0000-7000-8000-0000000001${String(i).padStart(2, '0')}`
  )
  const foreign: unknown[] = []
  await Promise.allSettled(
    Array.from({ length: 100 }, async (_, i) => {
      const tenant = tenants[i % 20] ?? ''
      await small.db.tenant(tenant, async (tx) => {
        await tx`insert into lab.note (text) values (${tenant})`
        if (i % 7 === 0) await tx`select 1 / 0`
        if (i % 11 === 0) throw new Error('given up')
        const rows = await tx`select text, tenant_id from lab.note`
        foreign.push(...rows.filter((row) => row.text !== tenant || row.tenant_id !== tenant))
      })
    })
  )
  t.strictSame(foreign, [])
  const [sum] =
    await small.sql`select count(*)::int as rows, count(*) filter (where text <> tenant_id::text) as bad from lab.note`
  const kept = Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 7 && i % 11).length
  t.strictSame({ ...sum }, { rows: kept, bad: 0n })
})

t.test('a shared table is written under tenancy and read by all where the condition holds', async (t) => {
  await asOwner(
    sql,
    `create table lab.article (like lab.note including all);
     call core.isolate_shared('lab.article', 'select, insert, update, delete', 'published');`
  )
  await db.tenant(tenantA, (tx) => tx`insert into lab.article (text, published) values ('draft', false), ('out', true)`)
  const texts = async (tenant: string) =>
    (await db.tenant(tenant, (tx) => tx<{ text: string }[]>`select text from lab.article order by text`)).map(
      (r) => r.text
    )
  t.strictSame(await texts(tenantA), ['draft', 'out'])
  t.strictSame(await texts(tenantB), ['out'])
  const touch = await db.tenant(tenantB, (tx) => tx`update lab.article set text = 'mine now'`)
  const drop = await db.tenant(tenantB, (tx) => tx`delete from lab.article`)
  t.strictSame([touch.count, drop.count], [0, 0])
  await t.rejects(
    db.tenant(tenantB, (tx) => tx`insert into lab.article (tenant_id, published) values (${tenantA}, true)`),
    { code: '42501' }
  )
})

t.test('agentos_system sees nothing until a room gives it a verb by name', async (t) => {
  await t.rejects(
    db.system((tx) => tx`select text from lab.note`),
    { code: '42501' }
  )
  await asOwner(sql, `call core.system_access('lab.note', 'select')`)
  const rows = await db.system((tx) => tx`select distinct tenant_id from lab.note`)
  t.ok(rows.length >= 2, 'across tenants')
  t.equal(
    (await db.system((tx) => tx`delete from lab.note`)).count,
    0,
    'it erases the rows of tenants to be erased only'
  )
  await t.rejects(
    db.system((tx) => tx`update lab.note set text = 'mine'`),
    { code: '42501' }
  )
})

t.test('a table without "tenant_id uuid not null" cannot be isolated, nor by an unknown verb', async (t) => {
  await t.rejects(
    asOwner(sql, `create table lab.x (id int); call core.isolate('lab.x', 'select')`),
    /tenant_id uuid not null/
  )
  await t.rejects(
    asOwner(sql, `create table lab.x (tenant_id uuid); call core.isolate('lab.x', 'select')`),
    /tenant_id uuid not null/
  )
  await t.rejects(asOwner(sql, `call core.system_access('lab.note', 'select, truncate')`), /unknown verb "truncate"/)
})

t.test('user and claims arrive, in the form that Supabase policies read', async (t) => {
  const context = {
    tenantId: tenantA.toUpperCase(),
    userId: 'u1',
    claims: { role: 'admin', sub: 'forged', tenant_id: 'x' }
  }
  const [row] = await db.tenant(
    context,
    (tx) => tx`select core.tenant() as tenant, current_setting('agentos.user') as user,
                      current_setting('request.jwt.claims')::jsonb as claims`
  )
  t.strictSame({ ...row }, { tenant: tenantA, user: 'u1', claims: { role: 'admin', sub: 'u1', tenant_id: tenantA } })
  await t.rejects(
    db.tenant("a'b", (tx) => tx`select 1`),
    { code: 'DB_TENANT_INVALID' }
  )
})

t.test('core.uuidv7 gives version 7 ids that rise with time', async (t) => {
  const rows = await sql<{ id: string }[]>`
    select core.uuidv7() as id from generate_series(1, 3), lateral (select pg_sleep(0.002 + 0 * generate_series)) s`
  const ids = rows.map((row) => row.id)
  for (const id of ids) t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.strictSame([...ids].sort(), ids)
  const age = Math.abs(Number.parseInt(ids[0]?.replaceAll('-', '').slice(0, 12) ?? '', 16) - Date.now())
  t.ok(age < 60_000, 'and carry the time')
})
