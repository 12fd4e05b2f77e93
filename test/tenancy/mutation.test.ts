import { randomInt } from 'node:crypto'
import t from 'tap'
import { must } from '#core/must.ts'
import { readCatalogue } from './support/catalogue.ts'
import { fullDb, superSession } from './support/full-db.ts'
import { prepareDigest } from './support/matrix.ts'
import { globalMutants, mutantsOf } from './support/mutants.ts'
import { argument, count } from './support/proof.ts'
import { prepareLint, verdict } from './support/referee.ts'
import { seed } from './support/seed.ts'

const { url } = await fullDb(t)
const sql = await superSession(t, url)
t.teardown(() => sql.release())
const seeded = await seed(sql, await readCatalogue(sql))
await prepareDigest(sql, seeded.tables)
await prepareLint(sql)
const [server] = await sql.unsafe<{ version: number }[]>(`select current_setting('server_version_num')::int as version`)
const functions = await sql.unsafe<{ name: string; source: string }[]>(`
  select p.oid::regproc::text as name, pg_get_functiondef(p.oid) as source from pg_proc p
  where p.oid::regproc::text in ('core.tenant', 'core.my_tenants', 'core.erasable')`)
const sources = new Map(functions.map(({ name, source }) => [name, source]))
const sessions = must(
  seeded.tables.find(({ name }) => name === 'pulse.session'),
  'pulse.session'
)

/** CI breaks one of so many things in a run. */
const share = 12

t.test(
  'whatever is dropped, weakened or granted: the lint or the matrix turns red',
  { timeout: 1_200_000 },
  async (t) => {
    const everything = mutantsOf(seeded.tables, server?.version ?? 0)
    // Two minutes for all: CI takes a part, another one each time; `npm run test:tenancy` takes all.
    const seed = argument('whole') === undefined ? Number(argument('seed') ?? randomInt(share)) : undefined
    t.comment(seed === undefined ? 'whole' : `--seed=${seed}: one of ${share}`)
    const mutants = everything.filter((_, i) => seed === undefined || i % share === seed % share)
    mutants.push(...globalMutants(sessions, sources))
    const killed = { lint: 0, matrix: 0 }
    const survivors: string[] = []
    await sql.unsafe('begin')
    t.equal(await verdict(sql, seeded, { sql: 'select 1', table: sessions }), undefined, 'nothing broken, nothing red')
    for (const mutant of mutants) {
      const fault = await verdict(sql, seeded, mutant)
      if (fault === undefined) survivors.push(mutant.name)
      else killed[fault.startsWith('lint') ? 'lint' : 'matrix']++
    }
    await sql.unsafe('rollback')
    t.strictSame(survivors, [])
    t.ok(everything.length > 1500, `${everything.length} mutants in all`)
    const score = (100 * (mutants.length - survivors.length)) / mutants.length
    count(t, 'mutation', {
      mutants: mutants.length,
      'seen by the lint': killed.lint,
      'seen by the matrix': killed.matrix,
      survivors: survivors.length,
      '% score': score
    })
  }
)
