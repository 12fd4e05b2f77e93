import type { Test } from 'tap'
import { migrations, seats } from '#config/plugins.ts'
import { readAllowances } from '#core/db/migration-files.ts'
import { adminConnection, type TestDb, testDb } from '#test/support/db.ts'

/** The SQL of every room of this server, in its order. */
export const allRooms = migrations(seats({ home: '.agentos', sandboxRequire: 'best' }))

/** What the rooms' lint-allow.json accept. */
export const allowances = (await Promise.all(allRooms.map(readAllowances))).flat()

/** A database with every room's tables. */
export function fullDb(t: Pick<Test, 'teardown'>): Promise<TestDb> {
  return testDb(t, { rooms: allRooms })
}

export type Session = Awaited<ReturnType<typeof superSession>>

/** One superuser connection with search_path pg_catalog: names are printed whole, nothing is found by chance. */
export async function superSession(t: Pick<Test, 'teardown'>, url: string) {
  const pool = adminConnection(url)
  t.teardown(() => pool.end({ timeout: 1 }))
  const session = await pool.reserve()
  await session.unsafe('set search_path to pg_catalog')
  return session
}
