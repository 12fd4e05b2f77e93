import { percentile, ratio, spread } from '../stats.ts'
import type { Memory } from './memory.ts'

/** What was measured, by contender: an array per round, of one number per second or of ms of every call. */
export type Lines = Map<string, { what: string; unit: '/s' | 'ms'; values: number[][] }>

export interface Goal {
  goal: string
  wanted: string
  measured: string
  verdict: 'REACHED' | 'MISSED' | 'no goal'
}

export function lineOf({ what, unit, values }: { what: string; unit: string; values: number[][] }): string {
  const all = values.flat()
  if (unit === '/s') {
    const { median, min, max } = spread(all)
    return `${what.padEnd(46)} ${fixed(median).padStart(8)} ${unit}  (${fixed(min)}-${fixed(max)})`
  }
  const at = (p: number) => fixed(percentile(all, p))
  return `${what.padEnd(46)} ${`p50 ${at(0.5)}`.padStart(11)} p99 ${at(0.99)} max ${at(1)} ms  (${all.length})`
}

/** ../shared/performance.md, goals 6 to 10 and 16, and the fair share of issue 4; of contenders that were not asked for none. */
export function goals(lines: Lines, used: Memory | undefined): Goal[] {
  const all = (key: string) => (lines.get(key)?.values ?? []).flat()
  const versus = (goal: string, ours: string, theirs: string, times?: number): Goal[] => {
    if (!lines.has(ours) || !lines.has(theirs)) return []
    const { median, min, max } = ratio(all(ours), all(theirs))
    const measured = `${median.toFixed(2)}x (${min.toFixed(2)}-${max.toFixed(2)})`
    if (times === undefined) return [{ goal, wanted: '-', measured, verdict: 'no goal' }]
    return [{ goal, wanted: `>= ${times}x`, measured, verdict: verdict(median >= times) }]
  }
  const within = (goal: string, key: string, ms: number): Goal[] => {
    if (!lines.has(key)) return []
    const p99 = percentile(all(key), 0.99)
    return [{ goal, wanted: `<= ${ms} ms`, measured: `${fixed(p99)} ms`, verdict: verdict(p99 <= ms) }]
  }
  // Over all rounds: a round has too few calls for a p99 of its own.
  const undisturbed = (goal: string, key: string): Goal[] => {
    if (!lines.has(key) || !lines.has('alone')) return []
    const times = (p: number) => percentile(all(key), p) / percentile(all('alone'), p)
    const measured = `p99 ${times(0.99).toFixed(2)}x, p50 ${times(0.5).toFixed(2)}x`
    return [{ goal, wanted: '<= 2x', measured, verdict: verdict(times(0.99) <= 2) }]
  }
  const memory = ({ sessions, tenants, rssMb, pssMb }: Memory): Goal => ({
    goal: `${sessions} sessions of ${tenants} tenants, engine and cells, RSS`,
    wanted: '<= 2048 MB',
    measured: `${rssMb} MB (PSS ${pssMb} MB)`,
    verdict: verdict(rssMb <= 2048)
  })
  return [
    versus('warm call: cell / isolated-vm in process', 'cell', 'isolatedVm', 0.6),
    versus('warm call: cell / workerd over HTTP', 'cell', 'workerd', 2.5),
    versus('warm call: cell / quickjs-emscripten', 'cell', 'quickjs', 2.5),
    versus('warm call: cell, 16 sessions / isolated-vm, 16 isolates', 'sessions', 'isolates'),
    versus('warm call: jitless cell / JIT cell', 'jitless', 'cell'),
    versus('new session: cell / workerd Worker Loader, new isolate', 'fresh', 'loader', 1.5),
    versus('new session: cell / fork per call', 'fresh', 'fork', 15),
    versus('new session: cell / isolated-vm, new isolate in process', 'fresh', 'freshVm'),
    within('kill -9 of a cell -> next good result, p99', 'killed', 250),
    within('cell killed by its own call -> next good result, p99', 'hostile', 250),
    undisturbed('quiet tenant beside 1,000 queued heavy calls / alone', 'besideHeavy'),
    undisturbed('quiet tenant beside 1,000 queued light calls / alone', 'besideLight'),
    used ? [memory(used)] : []
  ].flat()
}

function verdict(reached: boolean): Goal['verdict'] {
  return reached ? 'REACHED' : 'MISSED'
}

const fixed = (value: number) => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)
