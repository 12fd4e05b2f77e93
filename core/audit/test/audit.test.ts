import t from 'tap'
import { audit, auditAll, auditAs } from '#core/audit/audit.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { testDb } from '#test/support/db.ts'

const tenantId = newId()
const actor = { kind: 'key', id: 'k1', requestId: 'r1', from: '203.0.113.9' } as const

t.test('a row says who and what, as digests, in the transaction that it tells of', async (t) => {
  const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
  await db.tenant({ tenantId, actor }, async (tx) => {
    await Promise.all([
      audit(tx, { action: 'key.created', subject: 'key:1', after: { b: 1, a: 'secret' }, details: { name: 'x' } }),
      audit(tx, { action: 'key.renamed', subject: 'key:1', before: { a: 1 }, after: { a: 2 } })
    ])
  })
  const rows = await sql`select * from audit.entry order by id`
  t.equal(rows.length, 2)
  t.match(rows[0], {
    tenant_id: tenantId,
    actor_kind: 'key',
    actor_id: 'k1',
    request_id: 'r1',
    from_address: '203.0.113.9'
  })
  t.notOk(JSON.stringify(rows).includes('secret'))
  const [tally] = await sql`select entry_ids from audit.tally`
  t.strictSame(JSON.stringify(tally?.entry_ids), JSON.stringify(rows.map((row) => row.id)))
  await db.tenant(tenantId, (tx) =>
    auditAll(
      tx,
      [1, 2, 3].map((n) => ({ action: 'job.ran', subject: `job:${n}` }))
    )
  )
  await db.system((tx) =>
    auditAs(tx, tenantId, { kind: 'operator', id: 'o' }, { action: 'tenant.suspended', subject: 'tenant:1' })
  )
  t.strictSame(
    (await sql`select distinct actor_kind as kind from audit.entry order by 1`).map((row) => row.kind),
    ['key', 'operator', 'system']
  )
})
