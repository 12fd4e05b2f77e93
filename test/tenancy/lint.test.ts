import t from 'tap'
import { lint } from '#core/db/lint.ts'
import { allowances, fullDb, superSession } from './support/full-db.ts'
import { count } from './support/proof.ts'

const { url } = await fullDb(t)
const sql = await superSession(t, url)

t.test('the schema of every room has no finding but those that are allowed', async (t) => {
  t.strictSame(await lint(sql, allowances), [])
})

t.test('every allowance still matches something and says why', async (t) => {
  const all = await lint(sql, [])
  for (const row of allowances) {
    const matched = all.length - (await lint(sql, [row])).length
    t.ok(matched > 0, `${row.rule} ${row.object} matches ${matched}`)
    t.match(row.reason, /\w+ \w+ \w+/, 'a reason is a sentence')
  }
  const names = allowances.map(({ rule, object }) => `${rule} ${object}`)
  t.equal(new Set(names).size, names.length, 'and stands there once')
  count(t, 'lint', {
    'findings outside the allow lists': 0,
    'findings allowed with a reason': all.length,
    'rows of the allow lists': allowances.length
  })
})
