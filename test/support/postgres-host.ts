// A process of its own that holds the PostgreSQL of a test run, so that test files share one and none must be the last.
// It ends itself, its server and the folder when nobody has been connected for a while, and the server ends with it.
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { systemClock } from '#core/clock.ts'
import { startEmbeddedPostgres } from '#core/db/embedded.ts'
import { stayAwake } from '#core/db/stay-awake.ts'
import { must } from '#core/must.ts'

const dir = must(process.argv[2], 'the folder')
const idleMs = 60_000

await stayAwake(async () => {
  const server = await startEmbeddedPostgres({
    dir: join(dir, 'postgres'),
    // Tests do not survive a power cut, so neither need their rows.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }
  })
  const sql = postgres(server.url, { max: 1, onnotice: () => {} })
  // Written last and renamed by nobody: who reads it can connect.
  await writeFile(join(dir, 'ready.json'), JSON.stringify({ url: server.url, host: process.pid }), { mode: 0o600 })
  const end = async () => {
    await rm(join(dir, 'ready.json'), { force: true })
    await sql.end({ timeout: 1 })
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  }
  let seen = systemClock.monotonic()
  while (systemClock.monotonic() - seen < idleMs) {
    await systemClock.sleep(2000)
    const [row] = await sql`
      select count(*)::int as others from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'agentos process %'`
    if (row?.others > 0) seen = systemClock.monotonic()
  }
  await end()
})
