import { join } from 'node:path'
import { systemClock } from '#core/clock.ts'
import { CRASH_POINTS } from '#core/crash-point.ts'
import { check, type Evidence, type Findings } from './check.ts'
import { Client, History } from './client.ts'
import { readLedgers, readTables } from './ledger.ts'
import { Nemesis, type NemesisReport } from './nemesis.ts'
import { Random } from './random.ts'
import { type Planned, planSessions, play } from './scripts.ts'
import { installCounter } from './skill.ts'
import { readCalls } from './tools.ts'
import { makeWorld, type Tenant, type World } from './world.ts'

export interface StormOptions {
  readonly sessions: number
  readonly seconds: number
  readonly hosts: number
  readonly seed: string
  /** Tools are signed skills in the sandbox instead of functions of the host. */
  readonly skills: boolean
}

export interface StormReport {
  readonly options: StormOptions
  readonly findings: Findings
  /** What the checker was given. */
  readonly evidence: Evidence
  readonly nemesis: NemesisReport
  readonly crashPointsMissed: string[]
  readonly states: Record<string, number>
  readonly scripts: Record<string, number>
  readonly acknowledged: number
  readonly requests: number
  readonly repeatedRequests: Record<string, number>
  readonly transitions: number
  readonly events: number
  readonly calls: number
  /** What hosts and database were doing when the patience was over; empty after a good run. */
  readonly diagnosis: string[]
  /** Calls beyond the first one of a key and attempt: the world saw them, the ledger did not. */
  readonly repeatedCalls: number
  /** Seconds from the last kill until the last session was final. */
  readonly settledAfterSeconds: number
}

/** No session may need longer than this after the last kill. */
const STUCK_MS = 60_000
const HUNT_MS = 30_000
const PLANS = ['enterprise', 'pro', 'free', 'free']

/** One run: sessions, clients and a nemesis on one database, and what the checker says afterwards. */
export async function storm(t: { teardown(run: () => unknown): unknown }, options: StormOptions): Promise<StormReport> {
  const world = await makeWorld(t, options.skills ? 'skills' : 'functions')
  const { seed, skills } = options
  const tenants: Tenant[] = []
  for (const plan of PLANS) tenants.push(await world.makeTenant(plan))
  const hosts = Array.from({ length: options.hosts }, (_, index) => `host-${index}`)
  if (skills) await installCounter(world, hosts, tenants)

  // A stream of draws for each of them: how often one draws must not change what another one gets.
  const nemesis = new Nemesis(world, { hosts: options.hosts, random: new Random(`${seed}/nemesis`) })
  t.teardown(() => nemesis.stop())
  const history = new History(join(world.dir, 'history.jsonl'))
  t.teardown(() => history.close())
  const client = new Client(() => nemesis.address(), new Random(`${seed}/client`))
  const overMs = options.seconds * 1000
  const random = new Random(`${seed}/plan`)
  const planned = planSessions({ sessions: options.sessions, tenants, overMs: overMs * 0.9, random, skills })

  await nemesis.start()
  if (nemesis.report.surprises.length > 0) throw new Error(nemesis.report.surprises.join('\n'))
  const clients = Promise.all(planned.map((one) => play(one, client, history)))
  clients.catch(() => {}) // thrown where it is awaited; the nemesis must not leave its hosts behind before
  await nemesis.rage(overMs)
  const more: Promise<void>[] = []
  await nemesis.hunt(async () => {
    for (const one of planSessions({ sessions: 1, tenants, overMs: 0, random, skills, from: planned.length })) {
      planned.push(one)
      more.push(play(one, client, history))
      await systemClock.sleep(500)
    }
  }, HUNT_MS)
  await nemesis.rest()
  const calm = systemClock.monotonic()
  const late = systemClock.sleep(STUCK_MS).then(() => 'late' as const)
  await Promise.race([Promise.all([clients, ...more]), late])
  await settled(world, calm + STUCK_MS)
  const settledAfterSeconds = (systemClock.monotonic() - calm) / 1000
  // Whoever has to find out why needs to know what was going on.
  const diagnosis = settledAfterSeconds < STUCK_MS / 1000 ? [] : [...nemesis.lines(), await world.activity()]
  const doubts = diagnosis.length > 0 ? [] : await askAgain(client, planned, history)
  const [ledgers, tables] = await Promise.all([readLedgers(world.sql), readTables(world)])
  await nemesis.stop()

  const calls = readCalls(hosts.map((name) => world.callsFile(name)))
  const evidence = { planned, acknowledged: history.entries, ledgers, tables, calls }
  const findings = check(evidence)
  findings.wrong.unshift(...nemesis.report.surprises, ...doubts)
  const count = <T>(list: readonly T[], of: (one: T) => string) => {
    const counted: Record<string, number> = {}
    for (const one of list) counted[of(one)] = (counted[of(one)] ?? 0) + 1
    return counted
  }
  const attempts = count(calls, ({ key, attempt }) => `${key}#${attempt}`)
  return {
    options,
    findings,
    nemesis: nemesis.report,
    crashPointsMissed: CRASH_POINTS.filter((point) => !(point in nemesis.report.hits)),
    states: count(ledgers, ({ state }) => state),
    scripts: count(planned, ({ script }) => script),
    acknowledged: history.entries.length,
    requests: client.requests,
    repeatedRequests: client.repeated,
    transitions: ledgers.reduce((sum, { transitions }) => sum + transitions.length, 0),
    events: tables.streams.reduce((sum, stream) => sum + stream.events, 0),
    calls: calls.length,
    diagnosis,
    evidence,
    repeatedCalls: calls.length - Object.keys(attempts).length,
    settledAfterSeconds
  }
}

// All sessions final, then all that follows them: events numbered, commands answered, slots free, audit rows sealed.
async function settled(world: World, until: number): Promise<void> {
  while (systemClock.monotonic() < until) {
    const [left] = await world.sql<{ count: number }[]>`
      select (select count(*) from pulse.session where ended_at is null)::int
        + (select count(*) from core.event where seq is null)::int
        + (select count(*) from core.inbox where outcome is null)::int
        + (select count(*) from audit.tally)::int as count`
    if (left?.count === 0) return
    await systemClock.sleep(50)
  }
}

// The retry of an answered request, long after: the first answer again, whatever happened to its server meanwhile.
async function askAgain(client: Client, planned: readonly Planned[], history: History): Promise<string[]> {
  const wrong: string[] = []
  for (const { key, tenant, config } of planned) {
    const first = history.entries.find((entry) => entry.op === 'create' && entry.key === key)
    if (!first) continue
    const again = await client.ask(tenant, 'POST', '/v1/sessions', config, key)
    const { id, state } = again.body
    if (!again.replayed || again.status !== first.status || id !== first.sessionId || state !== first.state) {
      wrong.push(`${key}: the retry got ${JSON.stringify(again)}, the first answer was ${JSON.stringify(first)}`)
    }
  }
  return wrong
}

/** The line that says how it went. */
export function summary(report: StormReport): string {
  const { findings, nemesis, options } = report
  const hits = Object.values(nemesis.hits).reduce((sum, n) => sum + n, 0)
  const verdicts = Object.entries(findings).map(([kind, list]) => `${list.length} ${kind}`)
  return [
    `${options.sessions} sessions on ${options.hosts} hosts, seed ${options.seed}:`,
    `${nemesis.kills} kills at random and ${hits} at crash points (${Object.keys(nemesis.hits).length} of ${CRASH_POINTS.length} points), slowest start ${nemesis.slowestStartMs} ms,`,
    `${verdicts.join(', ')};`,
    `${report.requests} requests (${Object.values(report.repeatedRequests).reduce((sum, n) => sum + n, 0)} repeated),`,
    `${report.acknowledged} acknowledged operations, ${report.calls} calls (${report.repeatedCalls} repeated),`,
    `settled after ${report.settledAfterSeconds.toFixed(1)} s`
  ].join(' ')
}

export function isClean(report: StormReport): boolean {
  return Object.values(report.findings).every((list) => list.length === 0)
}
