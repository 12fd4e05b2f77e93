import { readFileSync } from 'node:fs'
import { readFile, readlink } from 'node:fs/promises'
import { basename, join } from 'node:path'

/** What a server says about itself in postmaster.pid. */
export interface Postmaster {
  pid: number
  port: number
  /** Line 8: it accepts connections. */
  ready: boolean
}

/** undefined when there is no file, or its server is not running (any more). */
export async function readPostmaster(data: string): Promise<Postmaster | undefined> {
  const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (!Number.isInteger(pid) || pid <= 0 || !(await isPostgres(pid))) return undefined
  return { pid, port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' }
}

/** Whether a process with this id runs; one that has ended and waits for its parent (in containers for ever) does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  try {
    // "pid (name) state ...": the name may hold anything, also ") ".
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !/^ [ZX]/.test(text.slice(text.lastIndexOf(')') + 1))
  } catch {
    return process.platform !== 'linux'
  }
}

/**
 * The process that started a server, when it still runs: the server will end with it (pdeathsig), so nobody else may
 * take it over. An orphan's parent is init or a container's reaper, which is no node. Linux only; elsewhere unknown.
 */
export async function livingStarter(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const parent = Number(text.slice(text.lastIndexOf(')') + 1).split(' ')[2])
  if (!Number.isInteger(parent) || parent <= 1 || !isAlive(parent)) return undefined
  const program = await readlink(`/proc/${parent}/exe`).catch(() => '')
  return basename(program) === basename(process.execPath) ? parent : undefined
}

// After a reboot the id in a stale file may be any process's. Where there is no /proc, an id that lives must do.
async function isPostgres(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined)
  if (status === undefined) return process.platform !== 'linux'
  return /^Name:\s+postgres$/m.test(status)
}
