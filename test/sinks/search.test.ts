import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { testDb } from '#test/support/db.ts'
import { searchFiles, searchTables } from './support/places.ts'
import { Search, writtenForms } from './support/search.ts'

const canary = 'p1"anted/c+nary?=välue'
const search = new Search({ canary, other: 'not-there-at-all-anywhere' })

t.test('the search finds each form of a canary anywhere in a text, and nothing else', async (t) => {
  const forms = writtenForms(canary)
  t.ok(forms.length > 10)
  for (const [form, written] of forms) {
    t.match(search.in('stdout', `before ${written} after`), [{ canary: 'canary', form, sink: 'stdout' }], form)
    t.strictSame(
      search.in('stdout', `before ${written.slice(0, -1)}`).filter((hit) => hit.form === form),
      [],
      form
    )
  }
  for (const before of ['', 'a', 'ab', 'abc']) {
    const text = Buffer.from(`${before}${canary}tail`)
    t.ok(search.in('x', text.toString('base64')).length > 0)
    t.ok(search.in('x', text.toString('base64url')).length > 0)
  }
})

t.test('a canary planted in any table, type and form is found with its column', async (t) => {
  const { sql } = await testDb(t)
  t.strictSame((await searchTables(sql, search)).hits, [])
  await sql`create schema planted`
  // jsonb and arrays escape once more what is escaped already.
  const forms = writtenForms(canary).filter(([form]) => form !== 'json in json')
  for (const [at, [form, written]] of forms.entries()) {
    const table = sql(`planted.t${at}`)
    await sql`create table ${table} (a text, b jsonb, c bytea, d text[], e int)`
    const one = { deep: [{ er: written }] }
    await sql`insert into ${table} values (${written}), (null)`
    await sql`insert into ${table} (b) values (${sql.json(one)})`
    await sql`insert into ${table} (c) values (${Buffer.from(`x${written}`)})`
    await sql`insert into ${table} (d) values (${['one', written]})`
    const { hits } = await searchTables(sql, search)
    const columns = new Set(hits.map(({ sink }) => sink))
    t.strictSame(
      [...columns],
      ['a', 'b', 'c', 'd'].map((column) => `column planted.t${at}.${column}`),
      form
    )
    await sql`drop table ${table}`
  }
})

t.test('a canary planted in a file or in its name is found; a file that may keep it is passed by', async (t) => {
  const dir = t.testdir()
  await mkdir(join(dir, 'objects', 'ab'), { recursive: true })
  await writeFile(join(dir, 'secret'), canary)
  for (const [form, written] of writtenForms(canary)) {
    await writeFile(join(dir, 'objects', 'ab', 'x'), Buffer.concat([Buffer.from([0, 255, 7]), Buffer.from(written)]))
    const { hits } = await searchFiles(dir, search, ['secret'])
    t.match(hits, [{ form, sink: 'file objects/ab/x' }], form)
  }
  await writeFile(join(dir, Buffer.from(canary).toString('hex')), '')
  t.equal((await searchFiles(dir, search, ['secret', 'objects/ab/x'])).hits.length, 1)
})
