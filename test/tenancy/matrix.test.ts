import { randomInt } from 'node:crypto'
import t from 'tap'
import { readCatalogue, roles } from './support/catalogue.ts'
import { contexts } from './support/contexts.ts'
import { fullDb, superSession } from './support/full-db.ts'
import { prepareDigest, runMatrix } from './support/matrix.ts'
import { overrides } from './support/overrides.ts'
import { argument, count } from './support/proof.ts'
import { seed } from './support/seed.ts'

const { url, appUrl, systemUrl } = await fullDb(t)
const sql = await superSession(t, url)
const fresh = await superSession(t, url)
const catalogue = await readCatalogue(sql)
const seeded = await seed(sql, catalogue)
await prepareDigest(sql, seeded.tables)
const digest = async () => (await sql.unsafe(`execute others_rows (null)`))[0]?.digest
const before = await digest()

t.test('every table has a row of both tenants', async (t) => {
  t.strictSame(seeded.missing, [])
  const names = catalogue.map(({ name }) => name)
  t.strictSame(
    Object.keys(overrides).filter((name) => !names.includes(name)),
    [],
    'and no override is of a table that is gone'
  )
})

t.test(
  'every table answers every role in every context and to every statement as declared',
  { timeout: 300_000 },
  async (t) => {
    await sql.unsafe('deallocate others_rows')
    // CI looks at some contexts of each table, others each time; `npm run test:tenancy` at all of them.
    const seed = argument('whole') === undefined ? Number(argument('seed') ?? randomInt(1000)) : undefined
    t.comment(seed === undefined ? 'whole' : `--seed=${seed}`)
    const { cells, comparisons, faults } = await runMatrix({ fresh, sql }, seeded, seed)
    t.strictSame(faults, [])
    t.ok(cells > 8000, `${cells} cells`)
    t.ok(comparisons > 500, 'statements that succeeded were compared')
    t.equal(await digest(), before, 'every byte of every row is as it was')
    count(
      t,
      'matrix',
      {
        tables: catalogue.length,
        roles: roles.length,
        contexts: Object.keys(contexts).length,
        cells,
        'byte comparisons': comparisons,
        faults: faults.length
      },
      declared()
    )
  }
)

t.test('the logins are the roles of the matrix, with nothing besides', async (t) => {
  for (const login of [appUrl, systemUrl]) {
    const session = await superSession(t, login)
    const [who] = await session.unsafe(`
      select session_user = current_user as same, rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolinherit as more,
             (select count(*)::int from pg_auth_members where member = r.oid) as memberships
      from pg_roles r where rolname = session_user`)
    t.strictSame({ ...who }, { same: true, more: false, memberships: 0 })
    await t.rejects(session.unsafe('create temp table parent (id int)'), { code: '42501' }, 'no temporary tables')
    await t.rejects(session.unsafe('create schema mine'), { code: '42501' }, 'no schemas')
    t.equal(
      (await session.unsafe(`select 1 from pg_stats where schemaname !~ '^pg_' and schemaname <> 'information_schema'`))
        .length,
      0,
      'no statistics of rows'
    )
    session.release()
  }
})

t.teardown(() => {
  sql.release()
  fresh.release()
})

// Who may do what, as the policies of the migrations declare it: what a reviewer reads.
function declared(): string[] {
  const verbs = (set: ReadonlySet<string>) => [...set].sort().join(', ') || '-'
  return [
    '| table | agentos_app (its own tenant) | agentos_system | of tenants to be erased | authenticated (members) |',
    '| --- | --- | --- | --- | --- |',
    ...catalogue.map((table) => {
      const shared = overrides[table.name]?.readable
      const app = verbs(table.declared.agentos_app) + (shared === undefined ? '' : `; reads every row where ${shared}`)
      const { agentos_system: system, authenticated } = table.declared
      const columns = overrides[table.name]?.members
      const members = verbs(authenticated) + (columns === undefined ? '' : ` (${columns.join(', ')})`)
      return `| ${table.name} | ${app} | ${verbs(system)} | ${verbs(table.erases)} | ${members} |`
    })
  ]
}
