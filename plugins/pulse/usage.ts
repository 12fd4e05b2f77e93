import type { UsageData } from './events.ts'
import type { LogLine } from './log.ts'
import type { SessionProgressContext } from './machine.ts'

/** What a run of a step used; times in milliseconds, `at` is the host's epoch ms at its end. */
export interface Used {
  readonly activeMs: number
  readonly cpuMs: number
  readonly hostCalls: number
  readonly tokens: number
  readonly at: number
}

/** What the commit of an outcome carries beside it. Absent where a recorded outcome is replayed: it was carried then. */
export interface Trace {
  readonly usage: UsageData | null
  /** Not written yet. */
  readonly lines: readonly LogLine[]
  /** All lines of the run, those that were written while it ran included. */
  readonly logged: { readonly lines: number; readonly bytes: number }
}

type Spent = Pick<SessionProgressContext, 'activeMs' | 'cpuMs' | 'hostCalls' | 'tokens' | 'logLines' | 'logBytes'>

/** The counters after a run. Sums of CPU time stay at whole microseconds: no tail of a float grows in the row. */
export function spend(context: Spent, { used, trace }: { used?: Used; trace?: Trace }): Spent {
  return {
    activeMs: context.activeMs + (used?.activeMs ?? 0),
    cpuMs: microseconds(context.cpuMs + (used?.cpuMs ?? 0)),
    hostCalls: context.hostCalls + (used?.hostCalls ?? 0),
    tokens: context.tokens + (used?.tokens ?? 0),
    logLines: context.logLines + (trace?.logged.lines ?? 0),
    logBytes: context.logBytes + (trace?.logged.bytes ?? 0)
  }
}

/** Milliseconds, cut to microseconds. */
export function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
