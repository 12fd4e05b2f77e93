// One PostgreSQL for all test files: that of DATABASE_URL, else an embedded one that is started by whoever comes first.
import { spawn } from 'node:child_process'
import { mkdir, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#core/clock.ts'
import { isAlive } from '#core/db/postmaster.ts'
import { stayAwake } from '#core/db/stay-awake.ts'
import { Secret } from '#core/secret.ts'

/** Roles belong to the cluster, so all test databases of it share one secret. Servers that tests spawn take it too. */
export const testSecret = new Secret(
  process.env.AGENTOS_SECRET ?? Buffer.from('the secret of all test databases').toString('base64')
)

/** Superuser (or CREATEROLE + CREATEDB) URL of the cluster that the tests use. */
export async function testCluster(): Promise<string> {
  return process.env.DATABASE_URL ?? (await stayAwake(embeddedCluster))
}

/** True where the tests run on the embedded server: settings of its own, superuser for certain. */
export const onEmbedded = process.env.DATABASE_URL === undefined

async function embeddedCluster(): Promise<string> {
  // Another user's folder would not be readable; another version of this file may start another server.
  const dir = join(tmpdir(), `agentos-test-${process.getuid?.() ?? 0}-18.4c`)
  const deadline = systemClock.monotonic() + 60_000
  let log = ''
  while (systemClock.monotonic() < deadline) {
    const url = await running(dir)
    if (url) return url
    await mkdir(dir, { recursive: true, mode: 0o700 })
    if (await takeStart(dir)) {
      const out = await open(join(dir, 'host.log'), 'a', 0o600)
      const child = spawn(process.execPath, [new URL('./postgres-host.ts', import.meta.url).pathname, dir], {
        detached: true,
        // Not tap's loaders and coverage: the host outlives the test.
        env: { PATH: process.env.PATH ?? '', TMPDIR: tmpdir() },
        stdio: ['ignore', out.fd, out.fd]
      })
      child.unref()
      await out.close()
      await new Promise<void>((resolve) => {
        const waiting = systemClock.every(20, async () => {
          if (child.exitCode === null && !(await running(dir))) return
          waiting.cancel()
          resolve()
        })
      })
      await rm(join(dir, 'starting'), { force: true })
      if (child.exitCode !== null) log = await readFile(join(dir, 'host.log'), 'utf8').catch(() => '')
    }
    await systemClock.sleep(50)
  }
  throw new Error(`the PostgreSQL of the tests did not start: ${log.slice(-2000)}`)
}

async function running(dir: string): Promise<string | undefined> {
  const text = await readFile(join(dir, 'ready.json'), 'utf8').catch(() => undefined)
  if (!text) return undefined
  try {
    const { url, host } = JSON.parse(text)
    return isAlive(host) ? url : undefined
  } catch {
    return undefined // being written
  }
}

// The file names its process: one that was killed while starting holds nobody up.
async function takeStart(dir: string): Promise<boolean> {
  const file = join(dir, 'starting')
  try {
    const handle = await open(file, 'wx', 0o600)
    await handle.write(String(process.pid))
    await handle.close()
    return true
  } catch {
    const pid = Number(await readFile(file, 'utf8').catch(() => ''))
    if (pid > 0 && !isAlive(pid)) await rm(file, { force: true })
    return false
  }
}
