import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '#core/clock.ts'
import type { Db, ReservedConnection } from '#core/db/types.ts'
import { isId, newId } from '#core/ids.ts'

/** Who this process is to the lease tables. */
export interface HostIdentity {
  readonly id: string
  /** Lets go of the name; the process is going down. */
  release(): Promise<void>
}

/** A killed process's connection is gone when the server notices: usually at once, after its statement at the latest. */
const PATIENCE_MS = 1000
const LOOK_MS = 50

/**
 * The host's name is kept in `<home>/host`, so that a restarted process finds its former leases and goes on at once.
 * A session lock in the database says that the name is in use: a second process of the same home takes a new name for
 * itself. A killed process's lock goes with its connection.
 */
export async function claimHostIdentity(db: Db, home: string, clock: Clock): Promise<HostIdentity> {
  const connection = await db.reserveSystem()
  try {
    const id = await claim(connection, home, clock)
    return { id, release: async () => connection.release() }
  } catch (error) {
    connection.release() // an open connection would keep a process alive whose boot has failed
    throw error
  }
}

async function claim(connection: ReservedConnection, home: string, clock: Clock): Promise<string> {
  const kept = await readKept(home)
  for (const until = clock.monotonic() + PATIENCE_MS; clock.monotonic() < until; await clock.sleep(LOOK_MS)) {
    if (await lock(connection, kept)) return kept
  }
  const own = newId()
  await lock(connection, own)
  return own
}

async function lock(connection: ReservedConnection, id: string): Promise<boolean> {
  const [row] = await connection<{ mine: boolean }[]>`
    select pg_try_advisory_lock(hashtextextended(${`agentos host ${id}`}, 0)) as mine`
  return row?.mine ?? false
}

async function readKept(home: string): Promise<string> {
  const file = join(home, 'host')
  try {
    const kept = (await readFile(file, 'utf8')).trim()
    if (isId(kept)) return kept
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const id = newId()
  await mkdir(home, { recursive: true, mode: 0o700 })
  await writeFile(file, `${id}\n`, { mode: 0o600 })
  return id
}
