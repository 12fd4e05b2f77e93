// What a cell tells of itself, and to whom.
import type { SandboxClock, SandboxLog } from '../types.ts'
import type { CellProcess } from './cell-process.ts'
import type { Job } from './job.ts'

export interface CellOwner {
  clock: SandboxClock
  log: SandboxLog | undefined
  graceMs: number
  memoryMb: number
  namespaces: boolean
  nextJobId(): number
  nextGeneration(): number
  ready(cell: CellProcess): void
  /** A call left the cell: there may be room. */
  freed(cell: CellProcess): void
  /** The process is gone; these jobs are still unsettled. `blame` is the one that caused it, if known. */
  gone(cell: CellProcess, jobs: Job[], why: Death): void
}

export interface Death {
  reason: string
  /** The supervisor killed it on purpose. */
  killed: boolean
  blame: Job | undefined
  code: 'SANDBOX_KILLED' | 'SANDBOX_MEMORY'
  signal: string | null
  stderr: string
}
