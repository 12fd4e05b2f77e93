// A tenant that uses more than its share runs below everybody else in the system's own order of priority while others want
// the CPU. Best effort: schedule.ts keeps the shares where the system does not.
import { readdirSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

const LOWER = 10

/**
 * May we lower a process and lift it again? That takes a privilege, and a cell that was lowered for good would be slow long
 * after the crowd has gone. @param pid a child that was spawned this moment
 */
export function mayLower(pid: number | undefined): boolean {
  if (pid === undefined) return false
  const before = priorityOf(pid)
  return attempt(() => setPriority(pid, Math.min(19, before + 1))) && attempt(() => setPriority(pid, before))
}

/** Lowers all threads of a running cell, or lifts them to ours: on Linux a priority is a thread's. */
export function setLow(pid: number, low: boolean): void {
  const nice = Math.min(19, priorityOf(process.pid) + (low ? LOWER : 0))
  attempt(() => {
    for (const thread of readdirSync(`/proc/${pid}/task`)) attempt(() => setPriority(Number(thread), nice))
    // Each cell is a session of its own; with autogroups (sched(7)) sessions share alike and nice counts only within one.
    writeFileSync(`/proc/${pid}/autogroup`, `${low ? LOWER : 0}`)
  })
}

function priorityOf(pid: number): number {
  try {
    return getPriority(pid)
  } catch {
    return 0
  }
}

/** Whether it could be done: the process may be gone, or we not allowed to. */
function attempt(run: () => void): boolean {
  try {
    run()
    return true
  } catch {
    return false
  }
}
