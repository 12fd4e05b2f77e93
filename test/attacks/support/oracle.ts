// Watches the engine and its cells from outside, by /proc alone: it believes nothing that they say about themselves.
import { readdirSync, readFileSync } from 'node:fs'

const TICK_MS = 10 // USER_HZ is 100 on every Linux that node runs on

const read = (path: string): string => {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** Pids below `pid`, at any depth, zombies included. */
export function descendants(pid: number): number[] {
  const children = readdirOr(`/proc/${pid}/task`).flatMap((task) =>
    read(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number)
  )
  return [...children, ...children.flatMap(descendants)]
}

/** Resident memory in MB; 0 when the process is gone. */
export function rssMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024
}

/** A number that names a process for good: a pid may be given again. Undefined when it is gone or a zombie. */
export function birth(pid: number): string | undefined {
  const fields = stat(`/proc/${pid}/stat`)
  return fields[0] === 'Z' || fields[0] === undefined ? undefined : fields[19]
}

/** CPU ms per thread of these processes since their start. */
export function threadCpu(pids: readonly number[]): Map<string, number> {
  const seen = new Map<string, number>()
  for (const pid of pids)
    for (const task of readdirOr(`/proc/${pid}/task`)) {
      const fields = stat(`/proc/${pid}/task/${task}/stat`)
      if (fields.length > 12) seen.set(task, (Number(fields[11]) + Number(fields[12])) * TICK_MS)
    }
  return seen
}

// Behind the command name, which may hold anything: state, ppid, ...
function stat(path: string): string[] {
  const text = read(path)
  return text === '' ? [] : text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readdirOr(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

/** Follows the memory of everything below `pid` until stop(). */
export function watchMemory(pid: number): { peakMb(): number; reset(): void; seen: Map<number, string>; stop(): void } {
  let peak = 0
  const seen = new Map<number, string>()
  const look = () => {
    for (const child of descendants(pid)) {
      const born = birth(child)
      if (born !== undefined) seen.set(child, born)
      peak = Math.max(peak, rssMb(child))
    }
  }
  const timer = setInterval(look, 25)
  return {
    peakMb: () => {
      look()
      return Math.round(peak)
    },
    reset: () => {
      peak = 0
    },
    seen,
    stop: () => clearInterval(timer)
  }
}

/** Waits until no thread below `pid` works. @returns the thread that still does after `patienceMs` */
export async function quiet(pid: number, patienceMs = 6000): Promise<string | undefined> {
  const windowMs = 150
  // Two ticks: on a busy machine a thread that burns gets no more than that, and a quiet cell not one.
  const burnMs = 2 * TICK_MS
  const until = performance.now() + patienceMs
  for (;;) {
    const before = threadCpu(descendants(pid))
    await new Promise((resolve) => setTimeout(resolve, windowMs))
    const burning = [...threadCpu(descendants(pid))].find(([task, ms]) => ms - (before.get(task) ?? 0) >= burnMs)
    if (!burning) return undefined
    if (performance.now() > until) return `thread ${burning[0]} goes on`
  }
}
