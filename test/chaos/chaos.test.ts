import { randomBytes } from 'node:crypto'
import t from 'tap'
import { CRASH_POINTS } from '#core/crash-point.ts'
import { check, type Evidence, type Findings } from './check.ts'
import type { Ledger } from './ledger.ts'
import { type StormReport, storm, summary } from './storm.ts'

let report: StormReport | undefined

t.test('two hosts that are killed again and again lose, double and forget nothing', async (t) => {
  const seed = randomBytes(4).toString('hex')
  t.comment(`seed ${seed}: npm run test:chaos -- --sessions 40 --seconds 8 --seed ${seed}`)
  report = await storm(t, { sessions: 40, seconds: 8, hosts: 2, seed, skills: false })
  t.comment(summary(report))
  for (const [kind, list] of Object.entries(report.findings)) t.strictSame(list, [], `nothing ${kind}`)
  t.strictSame(report.diagnosis, [])
  t.strictSame(Object.keys(report.nemesis.hits).sort(), [...CRASH_POINTS].sort(), 'every crash point was hit')
  t.ok(report.nemesis.kills >= 4)
})

/** Some damage to good evidence, and under which name the checker must find it. */
const damages: [keyof Findings, string, (ledger: Ledger, evidence: Evidence) => Evidence][] = [
  ['lost', 'a session that is gone', (ledger, e) => ({ ...e, ledgers: e.ledgers.filter((one) => one !== ledger) })],
  ['lost', 'a recorded step that is gone', (l, e) => replace(e, l, { journal: l.journal.slice(0, -1) })],
  [
    'lost',
    'a checkpoint that is gone',
    (l, e) => replace(e, l, { every: 'step', checkpoints: l.checkpoints.slice(1) })
  ],
  ['doubled', 'a session twice', (l, e) => ({ ...e, ledgers: [...e.ledgers, l] })],
  ['doubled', 'a journal row twice', (l, e) => replace(e, l, { journal: [...l.journal, ...l.journal.slice(-1)] })],
  ['doubled', 'a checkpoint twice', (l, e) => replace(e, l, { checkpoints: [...l.checkpoints, ...l.checkpoints] })],
  ['doubled', 'an end told twice', (l, e) => replace(e, l, { events: [...l.events, ...l.events.slice(-1)] })],
  [
    'doubled',
    'a usage told twice',
    (l, e) => replace(e, l, { events: l.events.flatMap((one) => (one.type === 'session.usage' ? [one, one] : [one])) })
  ],
  ['illegal', 'a move left out', (l, e) => replace(e, l, { transitions: l.transitions.slice(1) })],
  ['illegal', 'an older epoch that writes', (l, e) => replace(e, l, { transitions: withOlderEpoch(l) })],
  ['illegal', 'a state that nothing led to', (l, e) => replace(e, l, { state: 'FAILED' })],
  ['stuck', 'a session that goes on', (l, e) => replace(e, l, { ended: false, state: 'RUNNING' })],
  ['leftOver', 'a lease that is kept', (l, e) => replace(e, l, { held: true })],
  [
    'leftOver',
    'a slot that is kept',
    (l, e) => tables(e, { slots: [{ tenantId: l.tenantId, running: 1, queued: 0 }] })
  ],
  ['lost', 'a session that is not in the audit log', (_, e) => audit(e, { distinct: 0 })],
  ['doubled', 'a session that is in the audit log twice', (_, e) => audit(e, { created: 10_000 })],
  ['leftOver', 'an audit row without a seal', (_, e) => audit(e, { unsealed: 1 })],
  ['wrong', 'an audit chain that does not hold', (_, e) => audit(e, { fault: 'row 1 is missing' })],
  ['leftOver', 'a command that nobody took', (_, e) => tables(e, { openCommands: 1 })],
  ['leftOver', 'an event in the outbox', (_, e) => stream(e, { waiting: 1 })],
  ['seqGaps', 'a seq left out', (_, e) => stream(e, { highest: 10_000_000 })],
  ['seqGaps', 'a seq given twice', (_, e) => stream(e, { distinct: 1 })],
  ['wrong', 'a wrong result', (l, e) => replace(e, l, { result: { n: 6 } })],
  ['wrong', 'a pct that falls', (l, e) => replace(e, l, { events: fallen(l) })],
  ['wrong', 'no word of the end', (l, e) => replace(e, l, { events: l.events.slice(0, -1) })],
  ['repeated', 'a call after its record', (l, e) => ({ ...e, calls: [lateCall(l)] })]
]

function replace(evidence: Evidence, ledger: Ledger, change: Partial<Ledger>): Evidence {
  return { ...evidence, ledgers: evidence.ledgers.map((one) => (one === ledger ? { ...one, ...change } : one)) }
}

function tables(evidence: Evidence, change: Partial<Evidence['tables']>): Evidence {
  return { ...evidence, tables: { ...evidence.tables, ...change } }
}

function audit(evidence: Evidence, change: Partial<Evidence['tables']['audits'][number]>): Evidence {
  const busy = evidence.tables.audits.filter(({ sessions }) => sessions > 0).slice(0, 1)
  return tables(evidence, { audits: busy.map((one) => ({ ...one, ...change })) })
}

function stream(evidence: Evidence, change: Partial<Evidence['tables']['streams'][number]>): Evidence {
  const busy = evidence.tables.streams.filter(({ events }) => events > 1).slice(0, 1)
  return tables(evidence, { streams: busy.map((one) => ({ ...one, ...change })) })
}

function withOlderEpoch({ transitions }: Ledger): Ledger['transitions'] {
  return transitions.map((move, index) => ({ ...move, epoch: index === 1 ? 99 : move.epoch }))
}

function fallen({ events }: Ledger): Ledger['events'] {
  const last = events.findLast(({ type }) => type === 'session.progress')
  return events.map((event) => (event === last ? { ...event, pct: 1 } : event))
}

function lateCall({ id, journal }: Ledger) {
  const at = (journal[0]?.atMs ?? 0) + 100
  return { key: `${id}/s1`, attempt: 1, at, pid: 1 }
}

t.test('the checker finds what it looks for', async (t) => {
  const { evidence } = report ?? {}
  if (!evidence) return t.fail('there was no run')
  const ledger = evidence.ledgers.find(({ state, name }) => {
    return state === 'COMPLETE' && evidence.planned.some(({ key, script }) => key === name && script === 'plain')
  })
  if (!ledger) return t.fail('no session is complete')
  for (const [kind, what, damage] of damages) {
    const found = check(damage(ledger, evidence))
    t.ok(found[kind].length > 0, `${what}: ${kind}`)
  }
})
