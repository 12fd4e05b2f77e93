// The one PostgreSQL that all contenders of a run share: the given one, else an embedded one made for the run (fsync on).
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '#core/db/index.ts'
import { adminConnection, onDatabase } from '#test/support/db.ts'

export interface BenchDatabase {
  readonly version: string
  readonly settings: string
  readonly embedded: boolean
  /** Makes an empty database and returns its URL; it is dropped at the end of the run. */
  make(name: string): Promise<string>
  end(): Promise<void>
}

export async function benchDatabase(given: string | undefined): Promise<BenchDatabase> {
  const dir = given === undefined ? await mkdtemp(join(tmpdir(), 'agentos-bench-')) : undefined
  const server = dir === undefined ? undefined : await startEmbeddedPostgres({ dir: join(dir, 'postgres') })
  const url = server?.url ?? given ?? ''
  const sql = adminConnection(url)
  const made: string[] = []
  const [facts] = await sql<{ version: string; settings: string }[]>`
    select current_setting('server_version') as version,
      'fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit') as settings`
  return {
    version: facts?.version ?? '',
    settings: facts?.settings ?? '',
    embedded: server !== undefined,
    async make(name) {
      const database = `agentos_bench_${name}_${process.pid}`
      await sql`create database ${sql(database)} template template0`
      made.push(database)
      return onDatabase(url, database)
    },
    async end() {
      for (const database of made) await sql`drop database if exists ${sql(database)} with (force)`
      await sql.end({ timeout: 1 })
      await server?.stop()
      if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    }
  }
}
