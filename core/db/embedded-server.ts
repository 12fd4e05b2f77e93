import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Clock } from '#core/clock.ts'
import type { Secret } from '#core/secret.ts'
import { type Binaries, give, type Launch } from './embedded-launch.ts'
import { EmbeddedFailed } from './errors.ts'
import { isAlive, type Postmaster, readPostmaster } from './postmaster.ts'

const run = promisify(execFile)

export interface RunningServer extends Postmaster {
  /** it was there before us */
  attached: boolean
  /** Resolves when our child has gone; undefined for a server that is not our child. */
  exited: Promise<void> | undefined
}

// The server gets nothing of our environment: DATABASE_URL, AGENTOS_SECRET and PG* variables are not its business.
const environment = { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin', LC_ALL: 'C', TZ: 'UTC' }

/** Makes the cluster unless it is there. @returns whether it was made now */
export async function initCluster(options: {
  binaries: Binaries
  launch: Launch
  dir: string
  data: string
  password: Secret
}): Promise<boolean> {
  const { binaries, launch, dir, data, password } = options
  if (await stat(join(data, 'PG_VERSION')).catch(() => undefined)) return false
  // Beside the goal and moved there when complete: an initdb that was killed leaves nothing that looks like a cluster.
  const fresh = join(dir, `data.${process.pid}`)
  const passwordFile = join(dir, `password.${process.pid}`)
  await rm(fresh, { recursive: true, force: true })
  await writeFile(passwordFile, password.reveal(), { mode: 0o600 })
  if (launch.uid !== undefined) await give(passwordFile, launch.uid)
  const [program = '', ...args] = [
    ...launch.prefix,
    binaries.initdb,
    ...['-D', fresh, '--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`, '--encoding=UTF8'],
    // The same order of texts on every machine, whatever its libc.
    ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-instructions']
  ]
  try {
    await run(program, args, { env: environment, cwd: dir, timeout: 120_000 })
    await rename(fresh, data)
    return true
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    // Another server was faster: its cluster is there now.
    if (await stat(join(data, 'PG_VERSION')).catch(() => undefined)) return false
    throw new EmbeddedFailed(`initdb: ${error instanceof Error ? error.message.trim() : String(error)}`, error)
  } finally {
    await rm(passwordFile, { force: true })
  }
}

/** Starts the server on a free port and waits until it accepts connections. @throws EmbeddedFailed */
export async function startServer(options: {
  binaries: Binaries
  prefix: string[]
  data: string
  logFile: string
  settings: Record<string, string>
  clock: Clock
}): Promise<RunningServer> {
  const { binaries, prefix, data, logFile, clock } = options
  const port = await freePort()
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    log_min_messages: 'warning',
    ...options.settings
  }
  const [program = '', ...args] = [
    ...prefix,
    binaries.postgres,
    ...['-D', data],
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  ]
  const before = (await stat(logFile)).size
  const log = await open(logFile, 'a', 0o600)
  let child: ChildProcess
  try {
    // detached: a session of its own, so that a Ctrl-C at the terminal reaches us and not the database.
    child = spawn(program, args, { detached: true, env: environment, cwd: '/', stdio: ['ignore', log.fd, log.fd] })
  } finally {
    await log.close()
  }
  child.unref()
  let gone: string | undefined
  const exited = new Promise<void>((resolve) => {
    const end = (how: string) => {
      gone = how
      resolve()
    }
    child.once('exit', (code, signal) => end(`it ended with ${signal ?? code}`))
    child.once('error', (error) => end(error.message))
  })
  const deadline = clock.monotonic() + 30_000 // recovery after a crash may take its time
  for (;;) {
    const found = await readPostmaster(data)
    if (found && found.pid === child.pid && found.ready) return { ...found, attached: false, exited }
    if (gone !== undefined) throw new EmbeddedFailed(`${gone}: ${await tail(logFile, before)}`)
    if (clock.monotonic() > deadline) {
      child.kill('SIGQUIT')
      throw new EmbeddedFailed(`it did not get ready within 30 s: ${await tail(logFile, before)}`)
    }
    await Promise.race([clock.sleep(10), exited])
  }
}

/** Fast shutdown, after 10 s immediate; returns when the process has gone. */
export async function stopServer(server: RunningServer, clock: Clock): Promise<void> {
  const gone = async (ms: number) => {
    const deadline = clock.monotonic() + ms
    while (clock.monotonic() < deadline) {
      if (!isAlive(server.pid)) return true
      await Promise.race([clock.sleep(10), ...(server.exited ? [server.exited] : [])])
    }
    return false
  }
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    if (!isAlive(server.pid)) return
    process.kill(server.pid, signal)
    if (await gone(10_000)) return
  }
  throw new EmbeddedFailed(`process ${server.pid} does not stop`)
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

async function tail(logFile: string, from: number): Promise<string> {
  const text = (await readFile(logFile)).subarray(from).toString('utf8').trim()
  return text.split('\n').slice(-5).join(' | ') || 'its log is empty'
}
