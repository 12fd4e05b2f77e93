import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '#core/clock.ts'
import { chooseLaunch, findBinaries } from '#core/db/embedded-launch.ts'
import { startEmbeddedPostgres } from '#core/db/index.ts'
import { isAlive, readPostmaster } from '#core/db/postmaster.ts'
import { stayAwake } from '#core/db/stay-awake.ts'
import { must } from '#core/must.ts'
import { adminConnection } from '#test/support/db.ts'

const settings = { fsync: 'off' }
const linux = process.platform === 'linux'

/** A folder under a parent of mode 0700, as homes are. */
async function home(t: Test): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'agentos-embedded-'))
  t.teardown(() => rm(parent, { recursive: true, force: true, maxRetries: 50, retryDelay: 50 }))
  await chmod(parent, 0o700)
  return join(parent, 'home', 'postgres')
}

interface Said {
  port: number
  pid: number
  attached: boolean
  code?: string
  message?: string
}

/** Another server process on the same folder. */
async function server(
  t: Test,
  dir: string,
  mode = 'hold',
  how: SpawnOptions = {}
): Promise<Said & { child: ChildProcess }> {
  const program = join(import.meta.dirname, 'embedded-child.ts')
  const child = spawn(process.execPath, [program, dir, mode], {
    env: { PATH: '/usr/bin:/bin' },
    ...how,
    stdio: ['pipe', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = await once(must(child.stdout, 'stdout'), 'data')
  return { ...JSON.parse(String(line)), child }
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = systemClock.monotonic() + 10_000
  await stayAwake(async () => {
    while (!(await condition())) {
      if (systemClock.monotonic() > deadline) throw new Error(`not within 10 s: ${what}`)
      await systemClock.sleep(10)
    }
  })
}

t.test('a folder becomes a database that keeps its rows over a restart', async (t) => {
  const dir = await home(t)
  const first = await startEmbeddedPostgres({ dir, settings })
  const sql = adminConnection(first.url)
  await sql`create table kept (x int)`
  await sql`insert into kept values (7)`
  const [server] = await sql`
    select current_setting('server_version_num')::int as version, current_setting('listen_addresses') as listens,
           current_setting('unix_socket_directories') as sockets, current_setting('password_encryption') as passwords,
           current_setting('data_checksums') as checksums, current_database() as name`
  t.match(
    { ...server },
    { listens: '127.0.0.1', sockets: '', passwords: 'scram-sha-256', checksums: 'on', name: 'agentos' }
  )
  t.ok(server?.version >= 180000)
  await sql.end()
  await first.stop()
  t.equal(isAlive(first.pid), false)

  const second = await startEmbeddedPostgres({ dir, settings })
  t.teardown(() => second.stop())
  const again = adminConnection(second.url)
  t.equal((await again`select x from kept`)[0]?.x, 7)
  await again.end()

  t.equal((await stat(dir)).mode & 0o777, 0o700)
  t.equal((await stat(join(dir, 'password'))).mode & 0o777, 0o600)
  t.strictSame((await readdir(dir)).sort(), ['data', 'password', 'postgres.log'], 'nothing is left of initdb')
  const wrong = adminConnection(second.url.replace(/:[^:@]*@/, ':wrong@'))
  await t.rejects(Promise.resolve(wrong`select 1`), { code: '28P01' }, 'the password counts')
  await wrong.end()
})

t.test('fsync is on where nobody turns it off', async (t) => {
  const server = await startEmbeddedPostgres({ dir: await home(t) })
  t.teardown(() => server.stop())
  const sql = adminConnection(server.url)
  const [row] = await sql`
    select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
           current_setting('full_page_writes') as pages`
  t.strictSame({ ...row }, { fsync: 'on', commit: 'on', pages: 'on' })
  await sql.end()
})

t.test('a second server on the same folder is refused and told who has it', async (t) => {
  const dir = await home(t)
  const mine = await startEmbeddedPostgres({ dir, settings })
  t.teardown(() => mine.stop())
  const { code, message } = await server(t, dir)
  t.equal(code, 'DB_EMBEDDED_IN_USE')
  t.match(message, `agentos process ${process.pid}`)
  t.match(message, `port ${mine.port}`)
  t.match(message, dir)
  t.equal(isAlive(mine.pid), true, 'and the first is left alone')
})

t.test('of servers that start at once on a new folder one wins, the others are refused', async (t) => {
  const dir = await home(t)
  const said = await Promise.all([1, 2, 3].map(() => server(t, dir)))
  t.strictSame(said.map(({ code }) => code ?? 'started').sort(), [
    'DB_EMBEDDED_IN_USE',
    'DB_EMBEDDED_IN_USE',
    'started'
  ])
})

t.test(
  'the database ends with a parent that is killed, and the next start waits for that',
  { skip: !linux },
  async (t) => {
    const dir = await home(t)
    const first = await server(t, dir)
    t.match(await readFile(`/proc/${first.pid}/status`, 'utf8'), /Name:\s+postgres/)
    await kill(first.child, 'SIGKILL')
    const next = await startEmbeddedPostgres({ dir, settings }) // at once: the old one is just going down
    t.teardown(() => next.stop())
    t.equal(isAlive(first.pid), false)
    t.equal(next.attached, false)
  }
)

t.test('SIGINT and SIGTERM of the parent’s group do not reach the database', { skip: !linux }, async (t) => {
  const { pid, child } = await server(t, await home(t))
  const group = async (id: number) => (await readFile(`/proc/${id}/stat`, 'utf8')).split(') ')[1]?.split(' ')[2]
  t.not(await group(pid), await group(child.pid ?? 0), 'it is in a process group of its own')
  t.equal(await group(pid), String(pid))
})

t.test('a server whose parent is gone is taken over', { skip: !linux }, async (t) => {
  const dir = await home(t)
  const data = join(dir, 'data')
  const first = await startEmbeddedPostgres({ dir, settings })
  await first.stop()
  // What is left where no signal comes at the parent's death: the server runs, its starter does not.
  const binaries = await findBinaries()
  const { prefix } = await chooseLaunch(binaries, dir)
  const given = [`port=${first.port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off']
  const program = [...prefix, binaries.postgres, '-D', data, ...given.flatMap((setting) => ['-c', setting])]
  spawn('sh', ['-c', '"$@" >/dev/null 2>&1 &', 'sh', ...program], {
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    cwd: '/'
  })
  await until('the orphan is ready', async () => (await readPostmaster(data))?.ready === true)
  const orphan = await readPostmaster(data)
  const next = await server(t, dir, 'stop')
  t.match(next, { attached: true, pid: orphan?.pid, port: first.port })
  await until('the new owner stopped it', () => !isAlive(orphan?.pid ?? 0))
})

t.test('a server whose starter lives is that one’s, also while nobody holds its lock', { skip: !linux }, async (t) => {
  const dir = await home(t)
  const first = await startEmbeddedPostgres({ dir, settings })
  t.teardown(() => first.stop())
  const sql = adminConnection(first.url)
  await sql`
    select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = ${`agentos process ${process.pid}`}`
  await sql.end()
  const { code, message } = await server(t, dir)
  t.equal(code, 'DB_EMBEDDED_IN_USE')
  t.match(message, `process ${process.pid}`)
  t.equal(isAlive(first.pid), true)
})

t.test(
  'killed backends, a stale pid file and a pid that is somebody else’s now are no obstacle',
  { skip: !linux },
  async (t) => {
    const dir = await home(t)
    const { pid, child } = await server(t, dir)
    process.kill(pid, 'SIGKILL') // the postmaster alone: its children still hold the shared memory
    const next = await startEmbeddedPostgres({ dir, settings })
    t.not(next.pid, pid)
    await next.stop()
    await kill(child, 'SIGKILL')

    await writeFile(join(dir, 'data', 'postmaster.pid'), `${process.pid}\n${dir}/data\n0\n1\n\n127.0.0.1\n\nready   \n`)
    t.equal(await readPostmaster(join(dir, 'data')), undefined, 'this process is no postgres')
    const after = await startEmbeddedPostgres({ dir, settings })
    await after.stop()
  }
)

t.test('a server that cannot start says why', async (t) => {
  const dir = await home(t)
  const failing = startEmbeddedPostgres({ dir, settings: { shared_buffers: 'much' } })
  await t.rejects(failing, { code: 'DB_EMBEDDED_FAILED', message: /invalid value for parameter "shared_buffers"/ })
})

const isRoot = process.getuid?.() === 0

t.test('root’s server does not run as root', { skip: !isRoot || !linux }, async (t) => {
  const server = await startEmbeddedPostgres({ dir: await home(t), settings })
  t.teardown(() => server.stop())
  t.match(await readFile(`/proc/${server.pid}/status`, 'utf8'), /CapEff:\s+0{16}/, 'it holds no capability')
})

t.test(
  'where user namespaces are refused root gives the folder to another user',
  { skip: !isRoot || !linux },
  async (t) => {
    const dir = await home(t)
    // As in a container whose seccomp profile refuses unshare.
    const refusing = t.testdir({ unshare: '#!/bin/sh\necho "unshare failed: Operation not permitted" >&2\nexit 1\n' })
    await chmod(join(refusing, 'unshare'), 0o755)
    const { pid, child } = await server(t, dir, 'hold', { env: { PATH: `${refusing}:/usr/bin:/bin` } })
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const uid = (await stat(join(dir, 'data'))).uid
    t.not(uid, 0)
    t.match(status, new RegExp(`Uid:(\\s+${uid}){4}\\s`))
    await kill(child, 'SIGKILL')
    await until('it ended with its parent', () => !isAlive(pid))

    const next = await startEmbeddedPostgres({ dir, settings })
    t.teardown(() => next.stop())
    t.match(next, { attached: false }, 'and a system that allows them again takes the folder back')
  }
)

for (const [who, uid] of [
  ['a user that is not root', 65534],
  ['a user without a name', 54330]
] as const) {
  t.test(`${who} starts it as well`, { skip: !isRoot || !linux }, async (t) => {
    const dir = await home(t)
    await chown(join(dir, '..', '..'), uid, uid)
    // A checkout under /root is closed to everybody else.
    const readable = await new Promise((resolve) => {
      const script = `fs.readFileSync('${import.meta.filename}')`
      const probe = spawn(process.execPath, ['-e', script], { uid, gid: uid, env: {}, stdio: 'ignore' })
      probe.once('exit', (code) => resolve(code === 0)).once('error', () => resolve(false))
    })
    if (!readable) return t.comment('skipped: another user cannot read this checkout')
    const { pid, child, message } = await server(t, dir, 'hold', { uid, gid: uid })
    t.equal(message, undefined)
    t.match(await readFile(`/proc/${pid}/status`, 'utf8'), new RegExp(`Uid:\\s+${uid}\\s`))
    await kill(child, 'SIGKILL')
    await until('it ended with its parent', () => !isAlive(pid))
  })
}
