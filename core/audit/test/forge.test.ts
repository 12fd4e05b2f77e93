import t from 'tap'
import { audit } from '#core/audit/audit.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { testDb } from '#test/support/db.ts'

const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
const tenantId = newId()
await sql`insert into core.tenants (tenant_id, name, slug, plan) values (${tenantId}, 'a', 'a', 'pro')`
const actor = { kind: 'key', id: 'k1' } as const
const denied = { code: '42501' }

const forgedActor = `{"actor":{"kind":"operator","id":"root"}}`

t.test('claims that change inside a statement are refused', async (t) => {
  const set = (name: string, value: string) => `left(set_config('${name}', '${value}', true), 0)`
  const forge = (columns: string, values: string, setting: string) => `
    insert into audit.entry (${columns}) select ${values} || case when n = 2 then ${setting} else '' end
    from generate_series(1, 2) n`
  await t.test('another actor', (t) => {
    const text = forge('action, subject', `'key.stolen', 'key:' || n`, set('request.jwt.claims', forgedActor))
    return t.rejects(
      db.tenant({ tenantId, actor }, (tx) => tx.unsafe(text)),
      denied
    )
  })
  await t.test('no tenant any more, so that the statement names the actor', (t) => {
    const columns = 'tenant_id, action, actor_kind, actor_id, subject'
    const values = `'${tenantId}', 'key.stolen', 'operator', 'root', 'key:' || n`
    return t.rejects(
      db.tenant({ tenantId, actor }, (tx) => tx.unsafe(forge(columns, values, set('agentos.tenant', '')))),
      denied
    )
  })
  t.equal((await sql`select 1 from audit.entry where actor_id = 'root'`).length, 0)
})

t.test('the id is the database’s, not the writer’s', async (t) => {
  const wanted = 'ffffffff-ffff-7fff-bfff-ffffffffffff'
  await db.tenant(
    tenantId,
    (tx) => tx`insert into audit.entry (id, action, subject) values (${wanted}, 'a.b', 'own:id')`
  )
  const [row] = await sql`select id from audit.entry where subject = 'own:id'`
  t.not(row?.id, wanted)
  t.strictSame(
    (await sql`select array_to_json(entry_ids) as ids from audit.tally order by xid desc limit 1`)[0]?.ids,
    [row?.id],
    'and is the one that is counted'
  )
})

t.test('a transaction cannot take back what it counted, nor count what is not there', async (t) => {
  const written = (change: string) =>
    db.tenant(tenantId, async (tx) => {
      await audit(tx, { action: 'key.stolen', subject: 'key:hidden' })
      await tx.unsafe(change)
    })
  const there = `(select id from audit.entry where subject = 'own:id')`
  for (const change of [
    `update audit.tally set entry_ids = array[${there}]`,
    `update audit.tally set entry_ids = '{}'`,
    'update audit.tally set entry_ids = array[null::uuid]',
    `update audit.tally set entry_ids = array[${there}] || entry_ids`,
    'update audit.tally set entry_ids = entry_ids || gen_random_uuid()',
    'update audit.tally set entry_ids = entry_ids || null::uuid',
    'delete from audit.tally'
  ]) {
    await t.rejects(written(change), denied, change)
  }
  await t.rejects(
    db.tenant(tenantId, (tx) => tx`insert into audit.tally (entry_ids) values (array[gen_random_uuid()])`),
    denied
  )
  await written(`update audit.tally set entry_ids = entry_ids || ${there}`)
  await t.rejects(
    written(`update audit.tally set entry_ids = entry_ids || array_fill(${there}, array[10000])`),
    { code: '23514' },
    'at most 10,000'
  )
})
