// The database of whoever sets no DATABASE_URL: a real PostgreSQL from npm, in a folder, ended with this process.
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { type Clock, systemClock } from '#core/clock.ts'
import { Secret } from '#core/secret.ts'
import { chooseLaunch, deathSignal, findBinaries, give, type Launch } from './embedded-launch.ts'
import { initCluster, type RunningServer, startServer, stopServer } from './embedded-server.ts'
import { EmbeddedFailed, EmbeddedInUse } from './errors.ts'
import { isAlive, livingStarter, readPostmaster } from './postmaster.ts'
import { stayAwake } from './stay-awake.ts'
import { type DbLog, type Pool, silentLog } from './types.ts'

export interface EmbeddedOptions {
  /** `<home>/postgres`; made with mode 0700 where it is missing */
  dir: string
  /** the database that is made where it is missing, default 'agentos' */
  database?: string
  /** settings of postgresql.conf on top of ours, for tests (`{ fsync: 'off' }`) */
  settings?: Record<string, string>
  clock?: Clock
  log?: DbLog
}

export interface EmbeddedPostgres {
  /** superuser login of the database: for migrate() */
  url: string
  port: number
  pid: number
  /** true when a server that was left running (its parent died) was taken over */
  attached: boolean
  /** Fast shutdown: sessions are cut, committed work stays. Never happens by itself on SIGINT or SIGTERM. */
  stop(): Promise<void>
}

// In the database of the server itself: who holds it is the one AgentOS server of this folder.
const folderLock = '4711206420062'
/** For a server of this folder that another process is just starting: a first start makes the cluster, on a busy machine slowly. */
const patienceMs = 20_000

/**
 * Starts (or takes over) the PostgreSQL of a folder and claims the folder for this process.
 * @throws EmbeddedMissing, EmbeddedFailed (with the last lines of its log), EmbeddedInUse (another AgentOS serves it)
 */
export function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  return stayAwake(() => startOrAttach(options))
}

async function startOrAttach(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const clock = options.clock ?? systemClock
  const log = options.log ?? silentLog
  const { dir } = options
  const data = join(dir, 'data')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const binaries = await findBinaries()
  const password = await ensurePassword(dir)

  // A server that already runs is not started again, so nothing needs to be chosen or given away for it.
  let launch: Launch | undefined
  const start = async (): Promise<RunningServer> => {
    launch ??= await chooseLaunch(binaries, dir)
    const made = await initCluster({ binaries, launch, dir, data, password })
    if (made) log.info({ dir, as: launch.how }, 'database made')
    const logFile = join(dir, 'postgres.log')
    if (((await stat(logFile).catch(() => undefined))?.size ?? 0) > 10_000_000) await truncate(logFile)
    await writeFile(logFile, '', { flag: 'a', mode: 0o600 })
    if (launch.uid !== undefined) await give(logFile, launch.uid)
    return startServer({
      binaries,
      prefix: [...launch.prefix, ...(await deathSignal())],
      data,
      logFile,
      settings: options.settings ?? {},
      clock
    })
  }

  const deadline = clock.monotonic() + patienceMs
  for (;;) {
    const found = await readPostmaster(data)
    let server: RunningServer | undefined
    try {
      server = found ? { ...found, attached: true, exited: undefined } : await start()
      if (!found || found.ready) return await claim(server, { dir, password, clock, log, database: options.database })
    } catch (error) {
      if (error instanceof EmbeddedInUse || (error instanceof EmbeddedFailed && !passes(error.message))) throw error
      // The parent of a found server was just killed: the server is on its way down, its memory is still in use, or its
      // pid file is stale. All of these pass by themselves.
      if (clock.monotonic() > deadline) {
        throw error instanceof EmbeddedFailed ? error : new EmbeddedFailed('it does not answer', error)
      }
      if (server && !server.attached) await stopServer(server, clock)
    }
    if (clock.monotonic() > deadline)
      throw new EmbeddedFailed(`process ${found?.pid} holds ${data} and does not get ready`)
    await clock.sleep(25)
  }
}

// The server's own words (LC_ALL=C) for: the children of a killed one still live, another one is starting, a port was taken.
function passes(message: string): boolean {
  return /still in use|lock file|another postmaster|address already in use|could not bind|shared memory/i.test(message)
}

interface Claim {
  dir: string
  password: Secret
  clock: Clock
  log: DbLog
  database: string | undefined
}

async function claim(server: RunningServer, options: Claim): Promise<EmbeddedPostgres> {
  const { dir, password, clock, log, database = 'agentos' } = options
  const base = `postgres://postgres:${password.reveal()}@127.0.0.1:${server.port}`
  const sql: Pool = postgres(`${base}/postgres`, {
    max: 1,
    types: { bigint: postgres.BigInt },
    max_lifetime: null,
    connect_timeout: 5,
    onnotice: () => {},
    connection: { application_name: `agentos process ${process.pid}` }
  })
  try {
    if (server.attached) await leaveToStarter(sql, server, dir, clock)
    if (!(await lockFolder(sql, clock))) throw new EmbeddedInUse(dir, await holder(sql), server.port)
    const [there] = await sql`select 1 as yes from pg_database where datname = ${database}`
    if (!there) await sql`create database ${sql(database)}`
  } catch (error) {
    await sql.end({ timeout: 1 })
    throw error
  }
  log.info({ dir, port: server.port, attached: server.attached }, 'database started')
  return {
    url: `${base}/${database}`,
    port: server.port,
    pid: server.pid,
    attached: server.attached,
    async stop() {
      await sql.end({ timeout: 1 })
      await stayAwake(() => stopServer(server, clock))
      log.info({ dir }, 'database stopped')
    }
  }
}

// A server that another living process has just started is that one's, also in the moment before it takes the lock: whoever
// took it first would lose the database with the refused starter.
async function leaveToStarter(sql: Pool, server: RunningServer, dir: string, clock: Clock): Promise<void> {
  const starter = await livingStarter(server.pid)
  if (starter === undefined || starter === process.pid) return
  for (const end = clock.monotonic() + patienceMs; clock.monotonic() < end; await clock.sleep(25)) {
    const name = await holder(sql)
    if (name !== 'unknown') throw new EmbeddedInUse(dir, name, server.port)
    if (!isAlive(starter)) return
  }
  throw new EmbeddedInUse(dir, `process ${starter}`, server.port)
}

// A killed holder's lock goes when the server has noticed its closed socket: give it that moment.
async function lockFolder(sql: Pool, clock: Clock): Promise<boolean> {
  for (let attempt = 0; attempt < 10; attempt++) {
    const [row] = await sql`select pg_try_advisory_lock(${folderLock}::bigint) as mine`
    if (row?.mine) return true
    await clock.sleep(50)
  }
  return false
}

async function holder(sql: Pool): Promise<string> {
  const [row] = await sql`
    select a.application_name as name from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and l.classid = (${folderLock}::bigint >> 32)::oid
      and l.objid = (${folderLock}::bigint & 4294967295)::oid`
  return row?.name ?? 'unknown'
}

async function ensurePassword(dir: string): Promise<Secret> {
  const file = join(dir, 'password')
  // wx: of two servers that start at once one writes, both read the same.
  await writeFile(file, randomBytes(24).toString('base64url'), { mode: 0o600, flag: 'wx' }).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  return new Secret((await readFile(file, 'utf8')).trim())
}
