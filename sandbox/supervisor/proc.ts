import { readdirSync, readFileSync } from 'node:fs'

/** Resident memory of a process in MB, or undefined when it is gone or the system has no /proc. */
export function rssMb(pid: number): number | undefined {
  try {
    const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
    return found ? Number(found[1]) / 1024 : undefined
  } catch {
    return undefined
  }
}

/** Threads of a process that run or wait for a core; undefined when it is gone or the system has no /proc. */
export function runnable(pid: number): number | undefined {
  try {
    let count = 0
    for (const thread of readdirSync(`/proc/${pid}/task`)) if (isRunnable(`/proc/${pid}/task/${thread}/stat`)) count++
    return count
  } catch {
    return undefined
  }
}

/** Has any thread of the process a child process? Also false when it is gone or the system does not tell. */
export function hasChildren(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some((thread) => isParent(`/proc/${pid}/task/${thread}/children`))
  } catch {
    return false
  }
}

function isParent(path: string): boolean {
  try {
    return readFileSync(path, 'latin1') !== ''
  } catch {
    return false
  }
}

function isRunnable(path: string): boolean {
  try {
    const stat = readFileSync(path, 'latin1')
    return stat[stat.lastIndexOf(')') + 2] === 'R'
  } catch {
    return false // threads come and go
  }
}

/**
 * Host pid of the cell. With namespaces the child we spawned is `unshare`, and its only child is pid 1 of the cell's pid
 * namespace; all other wrappers exec. Undefined while unshare has not forked yet.
 */
export function cellPid(child: number, namespaces: boolean): number | undefined {
  if (!namespaces) return child
  try {
    return Number(readFileSync(`/proc/${child}/task/${child}/children`, 'latin1').trim().split(' ')[0]) || undefined
  } catch {
    return undefined
  }
}

/**
 * SIGKILL for a cell that was spawned as `child`, which must not have been reaped yet. Pid 1 of the namespace goes first:
 * everything in there dies with it, and unshare reaps it and exits, so no zombie is left to an engine that is pid 1.
 */
export function killCell(child: number, namespaces: boolean): void {
  const inner = cellPid(child, namespaces)
  if (inner === undefined) killGroup(child)
  else signal(inner)
}

/** SIGKILL for whatever is left of a cell's process group. */
export function killGroup(child: number): void {
  signal(-child)
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // gone already
  }
}
