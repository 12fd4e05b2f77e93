import t from 'tap'
import { sweepInbox } from '#core/actors/sweep.ts'
import { newId } from '#core/ids.ts'
import { coreMigrations } from '#core/migrations.ts'
import { testDb } from '#test/support/db.ts'

t.test('answered commands go after an hour, open ones never', async (t) => {
  const { db, sql } = await testDb(t, { rooms: [...coreMigrations] })
  const put = (hours: number, outcome: string | null) => sql`
    insert into core.inbox (tenant_id, actor_id, id, kind, event, by, at, outcome, state)
    values (${newId()}, ${newId()}, ${newId()}, 'session', '{}', 'test', now() - make_interval(hours => ${hours}),
      ${outcome}, 'RUNNING')`
  await Promise.all([put(2, 'applied'), put(3, 'refused'), put(2, 'applied'), put(48, null), put(0, 'applied')])
  t.equal(await sweepInbox(db, 2), 3)
  const left = await sql`select outcome from core.inbox order by at`
  t.strictSame(
    left.map((row) => row.outcome),
    [null, 'applied']
  )
})
