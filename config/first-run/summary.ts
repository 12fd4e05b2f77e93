/** What the summary needs of the example session, as GET gives it. */
export interface DemoSession {
  readonly id: string
  readonly state: string
  readonly createdAt: string
  readonly endedAt: string | null
  readonly steps: readonly unknown[]
  readonly checkpoints: readonly unknown[]
  readonly gates: readonly { name: string; verdict: string }[]
  readonly result: Profile | null
  readonly error: { code: string; message: string } | null
}

interface Profile {
  readonly rows: number
  readonly columns: readonly Column[]
}

interface Column {
  readonly name: string
  readonly type: string
  readonly distinct: number
  readonly min?: number | string
  readonly max?: number | string
  readonly quantiles?: { readonly p50: number }
  readonly top?: readonly { value: string; count: number }[]
  readonly histogram?: readonly string[]
}

/** The result for people: how long it took, the columns, one number drawn and one word counted. */
export function summary(session: DemoSession): string[] {
  const { result, steps, checkpoints, gates } = session
  if (!result) return []
  const { rows, columns } = result
  const passed = gates.filter(({ verdict }) => verdict === 'passed').length
  const did = [count(steps.length, 'step'), count(checkpoints.length, 'checkpoint'), `${count(passed, 'gate')} passed`]
  // The warmest hour of a day makes the friendliest curve; any other file shows its first number that varies.
  const number =
    columns.find(({ name }) => name === 'temp_max') ?? columns.find((column) => (column.histogram?.length ?? 0) > 1)
  const word = columns.find(({ type, distinct }) => type === 'string' && distinct <= 20)
  return [
    '',
    `  result      ${rows} rows, ${count(columns.length, 'column')} in ${took(session)}: ${did.join(', ')}`,
    ...columns.map((column, index) => `${index === 0 ? '  columns     ' : ' '.repeat(14)}${describe(column)}`),
    ...(number?.histogram
      ? ['', `  ${number.name}`, ...number.histogram.map((line) => `    ${line.replaceAll('#', '█')}`)]
      : []),
    ...(word?.top
      ? ['', `  ${word.name.padEnd(11)} ${word.top.map(({ value, count: n }) => `${value} ${n}`).join(', ')}`]
      : [])
  ]
}

function describe({ name, type, min, max, quantiles, distinct }: Column): string {
  const range = min === undefined || max === undefined ? `${distinct} different` : `${min} to ${max}`
  const median = quantiles ? `, median ${quantiles.p50}` : ''
  return `${name.padEnd(14)} ${type.padEnd(8)} ${range}${median}`
}

/** From the request to the end: queue, start of the sandbox, steps and their commits. */
function took({ createdAt, endedAt }: DemoSession): string {
  const ms = endedAt === null ? 0 : Date.parse(endedAt) - Date.parse(createdAt)
  return `${(ms / 1000).toFixed(2)} s`
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`
}
