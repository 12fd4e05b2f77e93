import type { ObjectStore } from '#core/objects/index.ts'
import { percent, stepKey } from './kind.ts'
import { type StepRecord, unkeep } from './outputs.ts'
import type { SessionListItem, SessionView } from './schema.ts'
import type { HistoryRows, ListRow, SessionRecord } from './store.ts'

type StepView = SessionView['steps'][number]

const iso = (date: Date | null) => date?.toISOString() ?? null
const isoOf = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())

/** The session as GET gives it: row, journal and history put together. */
export async function viewSession(
  objects: ObjectStore,
  session: SessionRecord,
  history: HistoryRows
): Promise<SessionView> {
  const { config, context, pinned, tenantId } = session
  const steps = await Promise.all(
    config.steps.map(async (step, index): Promise<StepView> => {
      const record = history.journal.get(stepKey(step.id)) as unknown as StepRecord | undefined
      const base = { id: step.id, kind: step.kind, costMicroUsd: '0' }
      if (!record) return { ...base, ...unrecorded(session, index) }
      return {
        ...base,
        state: stateOf(session, step.id, record),
        attempt: record.attempts,
        startedAt: record.startedAt,
        endedAt: record.endedAt,
        output: await unkeep(objects, tenantId, { value: record.output, ref: record.outputRef }),
        error: record.error
      }
    })
  )
  return {
    id: session.id,
    tenantId,
    name: session.name,
    agent: session.agent,
    state: session.state,
    pct: Math.max(session.pct, percent(context.step, config.steps.length)),
    createdAt: session.createdAt.toISOString(),
    startedAt: iso(session.startedAt),
    endedAt: iso(session.endedAt),
    deadline: iso(session.deadline),
    epoch: session.epoch,
    resumeQueued: session.state === 'PAUSED' && session.waiting,
    config,
    skills: pinned.skills.map(({ alias, name, version, digest }) => ({ alias, name, version, digest })),
    steps,
    checkpoints: history.checkpoints.map((row) => ({ ...row, createdAt: row.createdAt.toISOString() })),
    gates: config.gates.map(({ name }) => ({
      name,
      ...(context.verdicts[name] ?? { verdict: 'pending', reason: null })
    })),
    transitions: history.transitions.map((row) => ({ ...row, at: row.at.toISOString() })),
    result: await unkeep(objects, tenantId, session.result),
    error: context.error,
    cost: {
      microUsd: '0',
      tokens: context.tokens,
      computeMs: context.activeMs,
      cpuMs: context.cpuMs,
      hostCalls: context.hostCalls
    }
  }
}

function stateOf(session: SessionRecord, step: string, record: StepRecord): StepView['state'] {
  const undone = session.context.undone[step]
  if (undone === 'undone' || undone === 'undo_failed') return undone
  return record.status
}

// A step without a recorded outcome: the next one is running, later ones are pending, or skipped once the session ended.
function unrecorded(session: SessionRecord, index: number): Omit<StepView, 'id' | 'kind' | 'costMicroUsd'> {
  const { context, state, startedAt, endedAt } = session
  const none = { attempt: 0, startedAt: null, endedAt: null, output: null, error: null }
  if (index > context.step || index < context.step) return { ...none, state: endedAt ? 'skipped' : 'pending' }
  if (endedAt) return { ...none, attempt: context.failures, state: 'skipped' }
  if (state !== 'RUNNING') return { ...none, attempt: context.failures, state: 'pending' }
  const since = isoOf(context.since) ?? iso(startedAt)
  const waits = context.retryAt !== null
  return {
    ...none,
    attempt: context.failures + (waits ? 0 : 1),
    startedAt: since,
    state: waits ? 'waiting' : 'running'
  }
}

/** One row of the list. */
export function viewListItem(row: ListRow): SessionListItem {
  const { step, steps, pct, position: _position, createdAt, startedAt, endedAt, ...rest } = row
  return {
    ...rest,
    pct: Math.max(pct, percent(step, steps)),
    createdAt: createdAt.toISOString(),
    startedAt: iso(startedAt),
    endedAt: iso(endedAt)
  }
}
