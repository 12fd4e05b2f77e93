import { readFileSync } from 'node:fs'

const PAGE_BYTES = 4096

/** Resident memory of a process in MB, or undefined when it is gone or the system has no /proc. */
export function rssMb(pid: number): number | undefined {
  try {
    return (Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES) / 1_048_576
  } catch {
    return undefined
  }
}

/** Host pid of the cell itself below its wrapper: unshare forks once, everything else execs. */
export function innermost(pid: number): number {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean)
    return children.length === 1 ? innermost(Number(children[0])) : pid
  } catch {
    return pid
  }
}
