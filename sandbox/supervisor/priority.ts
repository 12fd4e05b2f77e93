// Cells run below the engine in the system's own order of priority, and a tenant that used more than its share below the
// other cells. Best effort: schedule.ts keeps the shares where the system does not.
import { readdirSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

const LOWER = 5
const LOWEST = 15

/** What this machine allows. */
export interface Priority {
  lower: boolean
  /** Giving priority back takes a privilege: without it a cell, once lowered further, would stay there for ever. */
  back: boolean
}

/** For a process that was spawned this moment: its threads inherit it. */
export function lower(pid: number | undefined): Priority {
  if (pid === undefined) return { lower: false, back: false }
  const before = priorityOf(pid)
  const to = (nice: number) => attempt(() => setPriority(pid, Math.min(19, nice)))
  const lowered = to(before + LOWER)
  const back = lowered && to(before + LOWER + 1) && to(before + LOWER)
  if (lowered) group(pid, LOWER)
  return { lower: lowered, back }
}

/** All threads of a running cell: on Linux a priority is a thread's. */
export function setLowest(pid: number, lowest: boolean): void {
  const nice = Math.min(19, priorityOf(process.pid) + (lowest ? LOWEST : LOWER))
  attempt(() => {
    for (const thread of readdirSync(`/proc/${pid}/task`)) attempt(() => setPriority(Number(thread), nice))
  })
  group(pid, lowest ? LOWEST : LOWER)
}

// Each cell is a session of its own; with autogroups (sched(7)) sessions share alike and nice counts only within one.
function group(pid: number, nice: number): void {
  if (process.platform === 'linux') attempt(() => writeFileSync(`/proc/${pid}/autogroup`, `${nice}`))
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
