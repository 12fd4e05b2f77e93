import t from 'tap'
import { must } from '#core/must.ts'
import { readCatalogue } from './support/catalogue.ts'
import { fullDb, superSession } from './support/full-db.ts'
import { prepareDigest } from './support/matrix.ts'
import { globalMutants, mutantsOf } from './support/mutants.ts'
import { count } from './support/proof.ts'
import { verdict } from './support/referee.ts'
import { seed } from './support/seed.ts'

const { url } = await fullDb(t)
const sql = await superSession(t, url)
t.teardown(() => sql.release())
const seeded = await seed(sql, await readCatalogue(sql))
await prepareDigest(sql, seeded.tables)
const [server] = await sql.unsafe<{ version: number }[]>(`select current_setting('server_version_num')::int as version`)
const sessions = must(
  seeded.tables.find(({ name }) => name === 'pulse.session'),
  'pulse.session'
)

t.test(
  'whatever is dropped, weakened or granted: the lint or the matrix turns red',
  { timeout: 300_000 },
  async (t) => {
    const mutants = [...mutantsOf(seeded.tables, server?.version ?? 0), ...globalMutants(sessions)]
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
    t.ok(mutants.length > 500, `${mutants.length} mutants`)
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
