import t from 'tap'
import { audit, auditAll, auditAs } from '#core/audit/audit.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { testDb } from '#test/support/db.ts'

const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
const tenantId = newId()
await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${tenantId}, 'a', 'a', 'pro')`
const actor = { kind: 'key', id: 'k1', requestId: 'r1', from: '203.0.113.9' } as const

t.test('a row says who and what, as digests, in the transaction that it tells of', async (t) => {
  await db.tenant({ tenantId, actor }, (tx) =>
    Promise.all([
      audit(tx, { action: 'key.created', subject: 'key:1', after: { b: 1, a: 'hidden' }, details: { name: 'x' } }),
      audit(tx, { action: 'key.renamed', subject: 'key:1', before: { a: 1 }, after: { a: 2 } })
    ])
  )
  const rows = await sql`select * from audit.entry order by id`
  const who = { actor_kind: 'key', actor_id: 'k1', request_id: 'r1', from_address: '203.0.113.9' }
  t.match(rows, [{ tenant_id: tenantId, ...who, details: { name: 'x' }, before_digest: null }, who])
  t.notOk(JSON.stringify(rows).includes('hidden'))
  const [tally] = await sql`select array_to_json(entry_ids) as ids from audit.tally`
  t.strictSame(
    tally?.ids,
    rows.map((row) => row.id),
    'and is counted in the order of writing'
  )
})

t.test('without an actor it is the tenant’s own job; the platform names its operator', async (t) => {
  await db.tenant(tenantId, (tx) =>
    auditAll(
      tx,
      [1, 2].map((n) => ({ action: 'job.ran', subject: `job:${n}` }))
    )
  )
  const operator = { kind: 'operator', id: 'o', requestId: 'r2' } as const
  await db.system((tx) =>
    auditAs(tx, tenantId, operator, { action: 'tenant.suspended', subject: 'tenant:1', after: 1 })
  )
  t.strictSame(
    (await sql`select distinct actor_kind || ':' || actor_id as who from audit.entry order by 1`).map((row) => row.who),
    ['key:k1', 'operator:o', 'system:agentos']
  )
})

t.test(
  'SQL of a tenant’s transaction cannot say that somebody else did it, at another time, or for another tenant',
  async (t) => {
    await db.tenant({ tenantId, actor }, async (tx) => {
      await tx`insert into audit.entry (action, subject, actor_kind, actor_id, at)
      values ('key.stolen', 'key:1', 'operator', 'root', '2020-01-01')`
    })
    const [row] =
      await sql`select actor_kind as kind, actor_id as id, at > now() - interval '1 hour' as now from audit.entry where action = 'key.stolen'`
    t.strictSame({ ...row }, { kind: 'key', id: 'k1', now: true })
    const forged = db.tenant({ tenantId, actor }, async (tx) => {
      await tx`select set_config('request.jwt.claims', '{"actor":{"kind":"operator","id":"root"}}', true)`
      await audit(tx, { action: 'key.stolen', subject: 'key:2' })
    })
    await t.rejects(forged, { code: '42501' }, 'the claims are signed')
    const foreign = db.tenant(
      tenantId,
      (tx) => tx`insert into audit.entry (tenant_id, action, subject) values (${newId()}, 'a.b', 'c')`
    )
    await t.rejects(foreign, { code: '42501' })
  }
)

t.test('nobody changes or deletes a row: not by grants, and not in spite of them', async (t) => {
  const changes = ['update audit.entry set subject = subject', 'delete from audit.entry', 'truncate audit.entry']
  for (const change of [
    ...changes,
    ...changes.map((text) => text.replace('entry', 'seal').replaceAll('subject', 'hash'))
  ]) {
    await t.rejects(
      db.tenant(tenantId, (tx) => tx.unsafe(change)),
      { code: '42501' },
      `agentos_app: ${change}`
    )
  }
  await sql`insert into audit.seal (tenant_id, seq, entry_id, hash) select tenant_id, 1, id, sha256('x') from audit.entry limit 1`
  for (const change of changes) {
    await t.rejects(sql.unsafe(change), { message: 'the audit log is append only' }, `superuser: ${change}`)
    await t.rejects(sql.unsafe(change.replace('entry', 'seal').replaceAll('subject', 'hash')), /append only/)
  }
  await t.rejects(
    db.system((tx) => tx`update audit.entry set subject = ''`),
    { code: '42501' }
  )
  t.equal(
    (await db.system((tx) => tx`delete from audit.entry where tenant_id = ${tenantId}`)).count,
    0,
    'agentos_system'
  )
})

t.test('a tenant whose time to be erased has come is the one exception', async (t) => {
  await sql`update core.tenants set suspended_at = now(), suspended_by = 'deletion', erase_by = 'owner', erase_at = now() + interval '1 day' where tenant_id = ${tenantId}`
  const erase = (table: string) =>
    db.system(async (tx) => (await tx`delete from ${tx(table)} where tenant_id = ${tenantId}`).count)
  t.equal(await erase('audit.entry'), 0, 'not before')
  await t.rejects(sql`delete from audit.entry where tenant_id = ${tenantId}`, /append only/)
  await sql`update core.tenants set erase_at = now() where tenant_id = ${tenantId}`
  for (const table of ['audit.entry', 'audit.tally', 'audit.seal']) t.ok((await erase(table)) > 0, table)
})

t.test('what is no action, or too much, is refused; long texts are cut', async (t) => {
  const write = (entry: Partial<Parameters<typeof audit>[1]>) =>
    db.tenant(tenantId, (tx) => audit(tx, { action: 'note.written', subject: 'note:1', ...entry }))
  for (const action of ['note', 'Note.written', 'note.', `note.${'x'.repeat(100)}`]) {
    await t.rejects(write({ action }), { code: '23514' }, action)
  }
  await write({ subject: 'x'.repeat(1000), details: { text: `\u0000${'y'.repeat(1000)}`, n: 1, none: null } })
  const [row] =
    await sql`select length(subject) as subject, length(details ->> 'text') as text from audit.entry where subject like 'xxx%'`
  t.strictSame({ ...row }, { subject: 300, text: 200 })
})
