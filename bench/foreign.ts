// node bench/foreign.ts [samples]: does the time of an answer tell another tenant's thing from none? For every route that
// names a thing: milliseconds of both, asked in turn, and the p of a Mann-Whitney test (small: they can be told apart).
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#core/clock.ts'
import { must } from '#core/must.ts'
import { routeRows } from '#test/tenancy/support/route-rows.ts'
import type { Params } from '#test/tenancy/support/rows/row.ts'
import { world } from '#test/tenancy/support/world.ts'
import { percentile } from './stats.ts'

const samples = Number(process.argv[2] ?? 2000)
const home = mkdtempSync(join(tmpdir(), 'agentos-bench-'))
const teardowns: (() => unknown)[] = [() => rmSync(home, { recursive: true, force: true })]
const server = await world({
  teardown: (...run: (() => unknown)[]) => void teardowns.unshift(...run),
  testdir: () => home
} as never)
const a = await server.citizen('a')
const b = await server.citizen('b')
const say = (line: string) => process.stdout.write(`${line}\n`)

say(`${samples} samples each; foreign and absent in turn`)
say('route                                                  foreign ms  absent ms  difference  p')
for (const [route, row] of Object.entries(routeRows)) {
  if (!row.had || !row.absent) continue
  const [theirs, none] = [row.had(b), row.absent()]
  const times: { foreign: number[]; absent: number[] } = { foreign: [], absent: [] }
  for (let n = -100; n < samples; n++) {
    // Who comes first changes: what the first leaves warm is warm for both.
    for (const which of n % 2 === 0 ? (['foreign', 'absent'] as const) : (['absent', 'foreign'] as const)) {
      const ms = await timed(route, which === 'foreign' ? theirs : none)
      if (n >= 0) times[which].push(ms)
    }
  }
  const [foreign, absent] = [percentile(times.foreign, 0.5), percentile(times.absent, 0.5)]
  const cells = [
    foreign.toFixed(3).padStart(10),
    absent.toFixed(3).padStart(10),
    `${((foreign / absent - 1) * 100).toFixed(1)} %`.padStart(11),
    mannWhitney(times.foreign, times.absent).toFixed(3)
  ]
  say(`${route.padEnd(54)} ${cells.join(' ')}`)
}
for (const teardown of teardowns) await teardown()

async function timed(route: string, params: Params): Promise<number> {
  const [method = '', path = ''] = route.split(' ')
  const row = routeRows[route]
  const { payload, headers } = row?.request?.(a) ?? {}
  const url = path.replace(/:(\w+)/g, (_all, name) => encodeURIComponent(must(params[name], name)))
  const began = systemClock.monotonic()
  const answer = await server.app.inject({
    method: method as 'GET',
    url,
    headers: { ...headers, ...a.headers },
    ...(payload === undefined ? {} : { payload })
  })
  const ms = systemClock.monotonic() - began
  if (answer.statusCode !== 404) throw new Error(`${route}: ${answer.statusCode} ${answer.body}`)
  return ms
}

/** Two-sided p by the normal approximation, which is good from 20 samples on; ties do not matter at nanoseconds. */
function mannWhitney(one: readonly number[], other: readonly number[]): number {
  const all = [...one.map((ms) => ({ ms, first: true })), ...other.map((ms) => ({ ms, first: false }))]
  all.sort((x, y) => x.ms - y.ms)
  const ranks = all.reduce((sum, { first }, i) => sum + (first ? i + 1 : 0), 0)
  const [n, m] = [one.length, other.length]
  const u = ranks - (n * (n + 1)) / 2
  const z = Math.abs(u - (n * m) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12)
  // Abramowitz and Stegun 26.2.17
  const k = 1 / (1 + 0.2316419 * z)
  const tail = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
  return Math.min(1, 2 * tail * (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)))
}
