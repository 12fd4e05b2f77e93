import t from 'tap'
import { testDb } from '#test/support/db.ts'
import { makeNotes, tenantA, tenantB } from './notes.ts'

const { db, sql } = await testDb(t, { open: { appPool: 1 } })
await makeNotes(sql)

// Each fits into a select, so an injection into one can do it; the connection is the next tenant's.
const left: readonly [name: string, value: string][] = [
  ['row_security', 'off'],
  ['default_transaction_read_only', 'on'],
  ['default_transaction_isolation', 'serializable'],
  ['search_path', 'pg_temp'],
  ['TimeZone', 'Asia/Kolkata'],
  ['DateStyle', 'SQL, DMY'],
  ['bytea_output', 'escape'],
  ['statement_timeout', '1'],
  ['agentos.tenant', tenantA],
  ['stolen.signature', 'kept for later']
]

t.test('what one tenant sets for the session is gone in the next transaction', async (t) => {
  const settings = (): Promise<Record<string, unknown>> =>
    db.tenant(tenantB, async (tx) => {
      const values: Record<string, unknown> = {}
      for (const [name] of left) values[name] = (await tx`select current_setting(${name}, true) as value`)[0]?.value
      const [isolation] = await tx`select current_setting('transaction_isolation') as value`
      return { ...values, isolation: isolation?.value }
    })
  const before = await settings()
  for (const [name, value] of left) {
    await db.tenant(tenantA, (tx) => tx`select set_config(${name}, ${value}, false)`)
    const after = await settings()
    // A setting that nobody had heard of is '' afterwards and not null.
    t.same({ ...after, [name]: after[name] || null }, { ...before, [name]: before[name] || null }, name)
    await t.resolves(
      db.tenant(tenantB, (tx) => tx`insert into lab.note (text) values ('as ever')`),
      `${name}: the next tenant writes`
    )
  }
})
