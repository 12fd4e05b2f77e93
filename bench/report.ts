import type { StartUp } from './startup.ts'
import { percentile, ratio, type Spread, spread } from './stats.ts'

export interface Facts {
  readonly cores: number
  readonly cpu: string
  readonly memoryGb: number
  readonly node: string
  readonly postgres: string
  readonly date: string
}

/** What a run measured. Of each line one array per round: one number per second, or a latency each. */
export interface Outcome {
  readonly facts: Facts
  readonly rounds: number
  readonly lines: ReadonlyMap<string, { readonly what: string; readonly values: readonly (readonly number[])[] }>
  readonly startUp: readonly StartUp[]
}

interface Goal {
  readonly goal: string
  readonly wanted: string
  readonly measured: string
  readonly reached: boolean
}

/** The goals of this stage; further ones are printed beside so that nobody takes them for reached. */
function goals(outcome: Outcome): Goal[] {
  const rates = (key: string) => (outcome.lines.get(key)?.values ?? []).map((round) => round[0] ?? Number.NaN)
  const beats = (goal: string, ours: string, theirs: string, times: number): Goal => {
    const { median, min, max } = ratio(rates(ours), rates(theirs))
    const measured = `${median.toFixed(2)}x (${min.toFixed(2)}-${max.toFixed(2)})`
    return { goal, wanted: `>= ${times}x`, measured, reached: median >= times }
  }
  const within = (goal: string, values: number[], ms: number): Goal => {
    const { median, max } = spread(values)
    return { goal, wanted: `<= ${ms} ms`, measured: `${fixed(median)} ms (max ${fixed(max)})`, reached: median <= ms }
  }
  const latencies = (key: string) => (outcome.lines.get(key)?.values ?? []).map((round) => percentile(round, 0.5))
  const delay = ratio(latencies('sessions.latency'), latencies('graphile.latency'))
  const raced = [
    beats('one by one, against DBOS 1-step', 'sessions.one', 'dbos.one', 2),
    beats('the same, next stage', 'sessions.one', 'dbos.one', 3),
    beats('one by one, against DBOS without awaiting', 'sessions.one', 'dbos.started', 2),
    beats('50 per transaction, against DBOS 1-step', 'sessions.fifty', 'dbos.one', 5),
    beats('50 per transaction, against graphile-worker', 'sessions.fifty', 'graphile.run', 1),
    beats('one by one, against graphile-worker one by one', 'sessions.one', 'graphile.one', 1),
    {
      goal: 'admit -> step p50, against graphile-worker',
      wanted: '<= 1x',
      measured: `${delay.median.toFixed(2)}x (${delay.min.toFixed(2)}-${delay.max.toFixed(2)})`,
      reached: delay.median <= 1
    }
  ]
  const started = [
    within(
      'first run to ready',
      outcome.startUp.map((one) => one.first),
      3000
    ),
    within(
      'restart to ready',
      outcome.startUp.map((one) => one.restart),
      1500
    ),
    within(
      'ready -> next step of a killed session',
      outcome.startUp.map((one) => one.resume),
      2000
    )
  ]
  return [...(outcome.lines.size > 0 ? raced : []), ...(outcome.startUp.length > 0 ? started : [])]
}

/** A table of what was measured, and a verdict per goal. */
function tables(outcome: Outcome): { measured: string[][]; verdicts: string[][] } {
  const measured = [...outcome.lines].map(([key, { what, values }]) => {
    if (!key.endsWith('.latency')) return [what, ...cells(spread(values.flat())), '/s']
    const all = values.flat()
    return [what, `p50 ${percentile(all, 0.5).toFixed(1)}`, `p99 ${percentile(all, 0.99).toFixed(1)}`, 'ms']
  })
  const verdicts = goals(outcome).map(({ goal, wanted, measured: got, reached }) => [
    goal,
    wanted,
    got,
    reached ? 'reached' : 'NOT reached'
  ])
  return { measured, verdicts }
}

const fixed = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
const cells = ({ median, min, max }: Spread) => [fixed(median), `(${fixed(min)}-${fixed(max)})`]

function machine({ facts, rounds }: Outcome): string[] {
  return [
    `${facts.cores} cores (${facts.cpu}), ${facts.memoryGb} GB, node ${facts.node}, PostgreSQL ${facts.postgres}`,
    `${rounds} rounds in turn after one to warm up; median (min-max); a ratio is taken within its round`
  ]
}

export function textReport(outcome: Outcome): string {
  const { measured, verdicts } = tables(outcome)
  return [...machine(outcome), '', ...aligned(measured), '', ...aligned(verdicts), ''].join('\n')
}

export function markdownReport(outcome: Outcome): string {
  const { measured, verdicts } = tables(outcome)
  const row = (texts: string[]) => `| ${texts.join(' | ')} |`
  return [
    '# Benchmarks',
    '',
    `Written by \`npm run bench -- --proof\` on ${outcome.facts.date}.`,
    '',
    ...machine(outcome).map((line) => `- ${line}`),
    '',
    row(['what', 'median', 'min-max', 'unit']),
    row(['---', '---:', '---:', '---']),
    ...measured.map(row),
    '',
    row(['goal', 'wanted', 'measured', 'verdict']),
    row(['---', '---:', '---:', '---']),
    ...verdicts.map(row),
    ''
  ].join('\n')
}

export function jsonReport(outcome: Outcome): string {
  const lines = Object.fromEntries(outcome.lines)
  return `${JSON.stringify({ ...outcome, lines, goals: goals(outcome) }, null, 2)}\n`
}

function aligned(table: string[][]): string[] {
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  return table.map((row) =>
    row
      .map((text, column) => (column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[column] ?? 0)))
      .join('  ')
  )
}
