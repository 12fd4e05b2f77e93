import t from 'tap'
import { deleteTenant, restoreTenant } from '#core/tenants/lifecycle.ts'
import { testApp } from '#test/support/app.ts'

t.test('who waited until the grace time was over restores nothing, however early he began', async (t) => {
  const { db, sql, makeTenant } = await testApp(t)
  const { tenantId } = await makeTenant()
  await db.system((tx) => deleteTenant(tx, tenantId, 'owner', 60_000))
  const late = db.system(async (tx) => {
    await tx`select now()`
    await sql`update core.tenants set erase_at = clock_timestamp() where tenant_id = ${tenantId}`
    return await restoreTenant(tx, tenantId, 'owner')
  })
  await t.rejects(late, { code: 'TENANT_ERASED' })
  const [row] = await sql`select erase_at is not null as deleted from core.tenants where tenant_id = ${tenantId}`
  t.equal(row?.deleted, true)
})
