import t from 'tap'
import { coreMigrations } from '#core/migrations.ts'
import { createTenant, findTenant, findTenantBySlug } from '#core/tenants/tenants.ts'
import { testDb } from '#test/support/db.ts'

t.test('tenants', async (t) => {
  const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
  const make = (slug: string) => db.system((tx) => createTenant(tx, { name: slug, slug, plan: 'free' }))
  const [a, b] = [await make('alpha'), await make('beta')]

  t.test('a tenant sees itself and no other, and cannot make or delete one', async (t) => {
    t.match(await db.tenant(a.id, (tx) => findTenant(tx, a.id)), {
      slug: 'alpha',
      plan: 'free',
      settings: {},
      cell: 'default'
    })
    t.equal(await db.tenant(a.id, (tx) => findTenant(tx, b.id)), null)
    t.equal(await db.tenant(a.id, (tx) => findTenantBySlug(tx, 'beta')), null)
    t.equal((await db.system((tx) => findTenantBySlug(tx, 'beta')))?.id, b.id)
    await t.rejects(
      db.tenant(a.id, (tx) => createTenant(tx, { name: 'x', slug: 'x', plan: 'free' })),
      { code: '42501' }
    )
    await t.rejects(
      db.tenant(a.id, (tx) => tx`delete from core.tenants`),
      { code: '42501' }
    )
  })

  t.test('a taken slug is 409, a malformed tenant 400, and nothing is left of either', async (t) => {
    await t.rejects(make('alpha'), { code: 'TENANT_SLUG_TAKEN', status: 409 })
    await t.rejects(make('Not A Slug'), { code: 'REQUEST_INVALID', details: { errors: [{ pointer: '/slug' }] } })
    t.equal(Number((await sql`select count(*) from core.tenants`)[0]?.count), 2)
  })

  t.test("a member's row is its tenant's", async (t) => {
    const user = '00000000-0000-7000-8000-0000000000aa'
    await db.tenant(a.id, (tx) => tx`insert into core.member (user_id, role) values (${user}, 'owner')`)
    t.equal((await db.tenant(b.id, (tx) => tx`select 1 from core.member`)).length, 0)
    t.equal((await db.system((tx) => tx`select tenant_id from core.member where user_id = ${user}`)).length, 1)
  })
})

t.test('a slug looks neither like an id nor like a tombstone', async (t) => {
  const { db } = await testDb(t, { rooms: [...coreMigrations] })
  for (const slug of ['01900000-0000-7000-8000-0000000000ff', '0190000000007000800000000000abcd', 'erased-a']) {
    const made = db.system((tx) => createTenant(tx, { name: 'x', slug, plan: 'pro' }))
    await t.rejects(made, { code: 'REQUEST_INVALID' }, slug)
  }
})
