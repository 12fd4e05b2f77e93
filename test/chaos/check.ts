import { readFileSync } from 'node:fs'
import type { Acknowledged } from './client.ts'
import type { Ledger, Tables } from './ledger.ts'
import { type Planned, STEPS } from './scripts.ts'
import type { WorldCall } from './tools.ts'

/** What was found, by kind; every list is empty after a good run. */
export interface Findings {
  /** Acknowledged and not there, or not what was acknowledged. */
  lost: string[]
  doubled: string[]
  /** Moves outside docs/spec/session-machine.json, gaps in a history, a state that its history does not lead to. */
  illegal: string[]
  seqGaps: string[]
  stuck: string[]
  /** A step called again after its outcome was recorded. */
  repeated: string[]
  /** Slots, leases, commands and outbox rows that nobody needs any more. */
  leftOver: string[]
  /** A result, an order or a share of progress that is wrong. */
  wrong: string[]
}

interface Spec {
  drawn: [string, string][]
  added: { from: string; to: string }[]
  initial: string
}

const spec = JSON.parse(readFileSync(new URL('../../docs/spec/session-machine.json', import.meta.url), 'utf8')) as Spec
const arrows = new Set([
  ...spec.drawn.map((arrow) => arrow.join('>')),
  ...spec.added.map(({ from, to }) => `${from}>${to}`)
])

export interface Evidence {
  readonly planned: readonly Planned[]
  readonly acknowledged: readonly Acknowledged[]
  readonly ledgers: readonly Ledger[]
  readonly tables: Tables
  readonly calls: readonly WorldCall[]
}

/** Holds what is in the database to what clients were told and to the rules of the house. Asks nobody. */
export function check(evidence: Evidence): Findings {
  const found: Findings = {
    lost: [],
    doubled: [],
    illegal: [],
    seqGaps: [],
    stuck: [],
    repeated: [],
    leftOver: [],
    wrong: []
  }
  const scripts = new Map(evidence.planned.map((planned) => [planned.key, planned.script]))
  checkAcknowledged(evidence, found)
  for (const ledger of evidence.ledgers) {
    checkHistory(ledger, found)
    checkRecords(ledger, found)
    checkEvents(ledger, found)
    checkEnd(ledger, scripts.get(ledger.name), found)
  }
  checkTables(evidence.tables, found)
  checkCalls(evidence, found)
  return found
}

function checkAcknowledged({ planned, acknowledged, ledgers }: Evidence, found: Findings): void {
  const byId = new Map(ledgers.map((ledger) => [ledger.id, ledger]))
  const names = new Map<string, number>()
  for (const { name } of ledgers) names.set(name, (names.get(name) ?? 0) + 1)
  for (const [name, count] of names) if (count > 1) found.doubled.push(`${count} sessions of the request ${name}`)
  const created = new Set(acknowledged.filter(({ op }) => op === 'create').map(({ key }) => key))
  for (const { key } of planned) if (!created.has(key)) found.lost.push(`${key} was never acknowledged`)
  for (const { op, key, sessionId, status, state } of acknowledged) {
    const ledger = byId.get(sessionId)
    if (!ledger) {
      found.lost.push(`${op} of ${key} was acknowledged, and there is no session ${sessionId}`)
      continue
    }
    if (status !== 200) continue
    const went = (to: string) => ledger.transitions.some((move) => move.to === to)
    if (op === 'pause' && !went('PAUSED')) found.lost.push(`${key}: the acknowledged pause`)
    if (op === 'run' && !went('QUEUED')) found.lost.push(`${key}: the acknowledged run`)
    if (op === 'cancel' && (ledger.state !== 'FAILED' || ledger.error?.code !== 'PULSE_SESSION_CANCELLED')) {
      found.lost.push(`${key}: the acknowledged cancel (${state}), it is ${ledger.state}`)
    }
  }
}

function checkHistory({ name, state, moves, epoch, transitions }: Ledger, found: Findings): void {
  let at = spec.initial
  let lastEpoch = 0
  for (const [index, move] of transitions.entries()) {
    const where = `${name}: move ${move.n} ${move.from} -> ${move.to}`
    if (move.n !== index + 1) found.illegal.push(`${where} stands at place ${index + 1}`)
    if (move.from !== at) found.illegal.push(`${where} begins where nobody was (${at})`)
    if (!arrows.has(`${move.from}>${move.to}`)) found.illegal.push(`${where} is no arrow of the machine`)
    if (move.epoch < lastEpoch) found.illegal.push(`${where} was written by epoch ${move.epoch} after ${lastEpoch}`)
    at = move.to
    lastEpoch = move.epoch
  }
  if (at !== state) found.illegal.push(`${name} is ${state}, its history leads to ${at}`)
  if (moves !== transitions.length) found.illegal.push(`${name} counts ${moves} moves, has ${transitions.length}`)
  if (lastEpoch > epoch) found.illegal.push(`${name}: epoch ${epoch}, its history knows ${lastEpoch}`)
}

function checkRecords({ name, state, journal, checkpoints, every }: Ledger, found: Findings): void {
  twice(journal.map(({ key }) => key)).forEach((key) => void found.doubled.push(`${name}: journal row ${key}`))
  twice(checkpoints).forEach((step) => void found.doubled.push(`${name}: checkpoint after ${step}`))
  const done = journal.filter(({ status }) => status === 'done')
  for (const [index, record] of done.entries()) {
    if (record.key !== `step:s${index + 1}`) found.wrong.push(`${name}: record ${index + 1} is ${record.key}`)
    const n = record.output && (record.output as { n: number }).n
    if (n !== index + 1) found.wrong.push(`${name}: ${record.key} gave ${JSON.stringify(record.output)}`)
  }
  if (state !== 'COMPLETE') return
  if (done.length !== STEPS) found.lost.push(`${name} is COMPLETE with ${done.length} recorded steps`)
  // Beside those that are due, one stands before each gate.
  if (every === 'step' && checkpoints.length !== STEPS) {
    found.lost.push(`${name} is COMPLETE with checkpoints after ${checkpoints.join()}`)
  }
}

const ONCE = ['session.created', 'session.started', 'session.completed', 'session.failed', 'session.rolled_back']

function checkEvents({ name, state, events, journal, checkpoints, transitions }: Ledger, found: Findings): void {
  const of = (type: string) => events.filter((event) => event.type === type)
  for (const type of ONCE) if (of(type).length > 1) found.doubled.push(`${name}: ${of(type).length} times ${type}`)
  const expected: [string, number][] = [
    ['session.created', 1],
    ['session.completed', state === 'COMPLETE' ? 1 : 0],
    ['session.failed', state === 'COMPLETE' ? 0 : 1],
    ['session.rolled_back', state === 'ROLLED_BACK' ? 1 : 0],
    ['session.checkpoint', checkpoints.length],
    ['session.paused', transitions.filter(({ to }) => to === 'PAUSED').length],
    ['session.resumed', transitions.filter(({ from, to }) => from === 'PAUSED' && to === 'RUNNING').length],
    ['session.started', transitions.filter(({ from, to }) => from === 'QUEUED' && to === 'RUNNING').length]
  ]
  for (const [type, count] of expected) {
    if (of(type).length !== count) found.wrong.push(`${name} (${state}): ${of(type).length} ${type}, not ${count}`)
  }
  const progress = of('session.progress')
  twice(progress.map(({ step }) => step ?? '')).forEach(
    (step) => void found.doubled.push(`${name}: progress of step ${step}`)
  )
  const done = journal.filter(({ status }) => status === 'done').length
  if (progress.length !== done) found.wrong.push(`${name}: ${progress.length} times progress for ${done} steps`)
  for (const [index, { pct }] of progress.entries()) {
    const before = progress[index - 1]?.pct ?? 0
    if ((pct ?? 0) < before) found.wrong.push(`${name}: pct fell from ${before} to ${pct}`)
  }
  const usage = of('session.usage')
  twice(usage.map(({ key }) => key ?? '')).forEach((key) => void found.doubled.push(`${name}: usage of ${key}`))
  const paid = usage.filter(({ outcome }) => outcome === 'done').length
  if (paid !== done) found.wrong.push(`${name}: the usage of ${paid} done steps for ${done}`)
  if (events[0] && events[0].type !== 'session.created')
    found.wrong.push(`${name}: its first event is ${events[0].type}`)
  const last = { COMPLETE: 'session.completed', FAILED: 'session.failed', ROLLED_BACK: 'session.rolled_back' }[state]
  if (last && events.at(-1)?.type !== last) found.wrong.push(`${name}: its last event is ${events.at(-1)?.type}`)
}

const ENDS: Partial<Record<Planned['script'], { state: string; code: string }>> = {
  'gate-fails': { state: 'FAILED', code: 'PULSE_GATE_FAILED' },
  'rolls-back': { state: 'ROLLED_BACK', code: 'PULSE_GATE_FAILED' }
}

function checkEnd(ledger: Ledger, script: Planned['script'] | undefined, found: Findings): void {
  const { name, state, ended, held, error, result } = ledger
  if (!ended) {
    found.stuck.push(`${name} is ${state}`)
    return
  }
  if (held) found.leftOver.push(`${name} is ${state} and holds a lease, a slot or a place in the queue`)
  if (script === 'cancels' && state === 'FAILED' && error?.code === 'PULSE_SESSION_CANCELLED') return
  const wanted = (script && ENDS[script]) ?? { state: 'COMPLETE', code: undefined }
  if (state !== wanted.state || error?.code !== wanted.code) {
    found.wrong.push(`${name} (${script}) ended ${state} ${JSON.stringify(error)}`)
  }
  if (state === 'COMPLETE' && (result as { n?: number } | null)?.n !== STEPS) {
    found.wrong.push(`${name}: its result is ${JSON.stringify(result)}`)
  }
}

function checkTables({ slots, streams, audits, openCommands }: Tables, found: Findings): void {
  for (const { tenantId, sessions, created, distinct, unsealed, fault } of audits) {
    if (distinct < sessions) found.lost.push(`audit of ${tenantId}: ${distinct} of ${sessions} created sessions`)
    if (created > sessions) found.doubled.push(`audit of ${tenantId}: ${created} rows of ${sessions} created sessions`)
    if (unsealed > 0) found.leftOver.push(`audit of ${tenantId}: ${unsealed} rows without a seal`)
    if (fault !== null) found.wrong.push(`audit of ${tenantId}: ${fault}`)
  }
  for (const { tenantId, running, queued } of slots) {
    if (running !== 0 || queued !== 0) found.leftOver.push(`slot of ${tenantId}: ${running} running, ${queued} queued`)
  }
  if (openCommands > 0) found.leftOver.push(`${openCommands} commands that nobody took`)
  for (const { streamId, lastSeq, events, lowest, highest, distinct, waiting } of streams) {
    if (waiting > 0) found.leftOver.push(`stream ${streamId}: ${waiting} events in the outbox`)
    if (events === 0 && lastSeq === 0) continue
    if (lowest !== 1 || highest !== lastSeq || distinct !== lastSeq || events - waiting !== lastSeq) {
      found.seqGaps.push(`stream ${streamId}: ${JSON.stringify({ lastSeq, events, lowest, highest, distinct })}`)
    }
  }
}

// A commit is written before its epoch ends, and the next epoch reads the journal before it acts: what was recorded is
// never asked of the world again. Host and database are one machine here, so their clocks agree to the millisecond.
const SAME_MS = 2

function checkCalls({ calls, ledgers }: Evidence, found: Findings): void {
  const recorded = new Map(
    ledgers.flatMap(({ id, journal }) =>
      journal.map(({ key, atMs }) => [`${id}/${key.replace(/^step:/, '').replace(/^undo:(.*)/, '$1/undo')}`, atMs])
    )
  )
  for (const call of calls) {
    const at = recorded.get(call.key)
    if (at !== undefined && call.at > at + SAME_MS) {
      found.repeated.push(`${call.key} was called ${Math.round(call.at - at)} ms after its outcome was recorded`)
    }
  }
}

/** Values that are there more than once. */
function twice(list: readonly string[]): string[] {
  return [...new Set(list.filter((value, index) => list.indexOf(value) !== index))]
}
