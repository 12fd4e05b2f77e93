import t from 'tap'
import { testDb } from '#test/support/db.ts'

t.test('arrays go to the database and come back whole, without asking the server for its types', async (t) => {
  const { db } = await testDb(t)
  const texts = ['plain', 'a "quoted" one', 'back\\slash', 'comma, brace {}', '', 'NULL', 'line\nbreak', 'ü€😀']
  const id = '01890000-0000-7000-8000-000000000000'
  const rows = await db.system(
    (tx) => tx`
      select ${texts}::text[] as texts, array['x', null] as holes, ${[id]}::uuid[] as ids, ${[1, 2]}::int[] as ints,
        array[1::bigint, 9007199254740993] as bigs, array[true, false] as bools, '{}'::text[] as none,
        (select count(*)::int from unnest(${[]}::text[])) as n`
  )
  t.strictSame(
    { ...rows[0] },
    {
      texts,
      holes: ['x', null],
      ids: [id],
      ints: [1, 2],
      bigs: [1n, 9007199254740993n],
      bools: [true, false],
      none: [],
      n: 0
    }
  )
})
