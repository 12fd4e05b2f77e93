// CPU time of calls that cannot report it, for their cell is gone: a quarter of hostile code ends like that, and it must not
// be cheaper than honest code. The kernel counts the process (/proc/<pid>/stat, ticks of 10 ms, read every 50 ms and before
// each kill); what the calls that ended have reported is taken off; the rest was used by those that had not ended. The one
// that is to blame pays for all of it, the others then for nothing; with nobody to blame they share it. When the cell has
// said of the one that must be killed how long it ran (isolated-vm counts a running isolate by the wall clock), the larger
// number holds: that is how calls that end well are metered.
import { readFileSync } from 'node:fs'

const TICK_MS = 10 // the kernel shows 100 a second on every Linux

export interface MeterMark {
  processMs: number
  reportedMs: number
}

export class Meter {
  /** Calls that have begun and not ended. */
  open = 0
  #mark: MeterMark | undefined
  #reportedMs = 0

  /** To be kept by a call that begins: as old as the last reading, 50 ms at most. */
  get mark(): MeterMark | undefined {
    return this.#mark
  }

  /** A call ended and says what it used. */
  ended(cpuMs: number): void {
    this.open--
    this.#reportedMs += cpuMs
  }

  read(pid: number): void {
    const processMs = processCpuMs(pid)
    if (processMs !== undefined) this.#mark = { processMs, reportedMs: this.#reportedMs }
  }

  /** CPU ms since `mark` that no ended call has accounted for; 0 where the system does not tell. */
  unaccounted(mark: MeterMark | undefined): number {
    if (!this.#mark || !mark) return 0
    const { processMs, reportedMs } = this.#mark
    return Math.max(0, processMs - mark.processMs - (reportedMs - mark.reportedMs))
  }
}

/** User and system time of a process; undefined when it is gone or the system has no /proc. */
export function processCpuMs(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // Fields are counted after the name, which may hold anything: 14 and 15 of all, 11 and 12 of these.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  } catch {
    return undefined
  }
}
