// A process of its own that holds the PostgreSQL of a test run, so that test files share one and none must be the last.
// It ends itself, its server and the folder when nobody has been connected for a while, and the server ends with it.
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { systemClock } from '#core/clock.ts'
import { startEmbeddedPostgres } from '#core/db/embedded.ts'
import { isAlive } from '#core/db/postmaster.ts'
import { stayAwake } from '#core/db/stay-awake.ts'
import { must } from '#core/must.ts'

const dir = must(process.argv[2], 'the folder')
const idleMs = 60_000

// A folder per host: one that is just ending never removes what the next one has begun.
const own = join(dir, String(process.pid))
const ready = join(dir, 'ready.json')

await stayAwake(async () => {
  for (const name of await readdir(dir)) {
    if (/^\d+$/.test(name) && !isAlive(Number(name)))
      await rm(join(dir, name), { recursive: true, force: true, maxRetries: 50, retryDelay: 100 })
  }
  const server = await startEmbeddedPostgres({
    dir: own,
    // Tests do not survive a power cut, so neither need their rows.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }
  })
  const sql = postgres(server.url, { max: 1, onnotice: () => {} })
  const guests = async () => {
    const [row] = await sql`
      select count(*)::int as others from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'agentos process %'`
    return row?.others > 0
  }
  const announce = () => writeFile(ready, JSON.stringify({ url: server.url, host: process.pid }), { mode: 0o600 })
  await announce()
  let seen = systemClock.monotonic()
  for (;;) {
    await systemClock.sleep(2000)
    if (await guests()) seen = systemClock.monotonic()
    if (systemClock.monotonic() - seen < idleMs) continue
    // Who has read the address and not connected yet gets a moment to do so.
    await rm(ready, { force: true })
    await systemClock.sleep(1000)
    if (!(await guests())) break
    seen = systemClock.monotonic()
    await announce()
  }
  await sql.end({ timeout: 1 })
  await server.stop()
  await rm(own, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 })
})
