import { type ActorHost, ActorNotFound, type NewActor, type Sent, type WriteEntry } from '#core/actors/index.ts'
import { audit, auditAll } from '#core/audit/audit.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import { crashPoint } from '#core/crash-point.ts'
import type { Db, TenantContext, Tx } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { Ports } from '#core/ports/ports.ts'
import type { Jobs } from '#core/queue/jobs.ts'
import { setLimits } from '#core/queue/slots.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { LimitExceeded, SESSION_ERRORS, SessionConflict, SessionNotFound } from './errors.ts'
import { type SessionRow, sessionCreated, sessionKind } from './kind.ts'
import { insertLines } from './log-store.ts'
import { INITIAL, type SessionContext, type SessionPlan } from './machine.ts'
import { makePlan } from './plan.ts'
import { PRIORITIES, type SessionConfig, type SessionState, type SessionView } from './schema.ts'
import { findHistory, findPlanName, findSession, insertCheckpoints, lockSession, setResults } from './store.ts'
import { viewSession } from './view.ts'

export interface SessionsDeps {
  readonly db: Db
  readonly bus: Bus
  readonly actors: ActorHost
  readonly clock: Clock
  readonly objects: ObjectStore
  readonly ports: Ports
  readonly jobs: Jobs
  readonly plans: PlanTable
  /** How many sessions may wait per tenant, by plan. */
  readonly queueMax: Readonly<Record<string, number>>
  /** Tool calls of a tenant at once on a host, by plan; null = unlimited. */
  readonly toolCalls: Readonly<Record<string, number | null>>
}

export type Command = 'QUEUE' | 'PAUSE' | 'RESUME' | 'CANCEL'

/** What the audit log calls a command. */
const ACTIONS: Readonly<Record<Command, string>> = {
  QUEUE: 'session.queued',
  PAUSE: 'session.paused',
  RESUME: 'session.resumed',
  CANCEL: 'session.cancelled'
}

/** How long a tenant's plan is taken from memory, and of how many tenants. */
const PLAN_MS = 5000
const PLANS_KEPT = 10_000

/** A session that will exist when its transaction commits. */
export interface Admitted {
  readonly id: string
  readonly state: SessionState
}

/** A command answers at once when the session takes it; one that is in the middle of a step is waited for this long. */
const ANSWER_MS = 1000

export const EXPIRE_JOB = 'pulse.expire'

/** What outlives a request: a deadline, or the longest pause. */
export interface ExpireJob {
  tenantId: string
  sessionId: string
  reason: 'deadline' | 'pause'
  /** For a pause: the count of moves that it began with. A later pause has another. */
  moves?: number | undefined
}

/** What clients and other rooms do with sessions; HTTP and WebSocket call the same functions. */
export class Sessions {
  private readonly deps: SessionsDeps
  private readonly planNames = new Map<string, { name: string; until: number }>()

  constructor(deps: SessionsDeps) {
    this.deps = deps
  }

  /**
   * Admits a session in the caller's tenant transaction: when it commits the session exists and is queued, or nothing.
   * @throws PULSE_* and SKILLS_* (422), QUEUE_FULL (429)
   */
  async create(tx: Tx, tenantId: string, config: SessionConfig, by: string): Promise<Admitted> {
    const [admitted] = await this.createAll(tx, tenantId, [config], by)
    return must(admitted, 'the admitted session')
  }

  /**
   * Admits many sessions at once, all or none, with as many statements as one takes.
   * @throws as `create`
   */
  async createAll(tx: Tx, tenantId: string, configs: readonly SessionConfig[], by: string): Promise<Admitted[]> {
    const planName = await this.planName(tx, tenantId)
    const minutes = this.deps.plans.plans[planName]?.sessionMinutes ?? null
    const toolCalls = this.deps.toolCalls[planName] ?? null
    const tools = this.deps.ports.get('tools')
    const actors: NewActor[] = []
    for (const config of configs) {
      this.refusePast(config)
      actors.push(newSession({ ...(await makePlan(tx, tools, config, minutes)), toolCalls }, config, by))
    }
    const created = actors.map(({ id }, index) => {
      const { name = null, agent = null, start } = must(configs[index], 'its config')
      return {
        action: 'session.created',
        subject: `session:${id}`,
        after: configs[index],
        details: { name, agent, start }
      }
    })
    // On their way together: the log costs no round trip.
    await Promise.all([this.deps.actors.create(tx, 'session', tenantId, actors), auditAll(tx, created)])
    for (const [index, { deadline }] of configs.entries()) {
      if (deadline === undefined) continue
      const job: ExpireJob = { tenantId, sessionId: must(actors[index], 'its actor').id, reason: 'deadline' }
      await this.deps.jobs.send(tx, EXPIRE_JOB, job, { startAfter: new Date(deadline) })
    }
    this.deps.db.afterCommit(tx, () => crashPoint('admitted'))
    return actors.map(({ id, events }) => ({ id, state: events.length === 0 ? 'CREATED' : 'QUEUED' }))
  }

  private refusePast({ deadline }: SessionConfig): void {
    if (deadline === undefined || Date.parse(deadline) > this.deps.clock.now()) return
    const detail = `${deadline} has passed already`
    throw new LimitExceeded([{ pointer: '/deadline', detail, code: 'PULSE_LIMIT_EXCEEDED' }])
  }

  // Every admission needs it and it changes once in a blue moon: a new plan counts within PLAN_MS.
  private async planName(tx: Tx, tenantId: string): Promise<string> {
    const now = this.deps.clock.monotonic()
    const known = this.planNames.get(tenantId)
    if (known && known.until > now) return known.name
    const name = await findPlanName(tx)
    if (this.planNames.size >= PLANS_KEPT) this.planNames.clear()
    this.planNames.set(tenantId, { name, until: now + PLAN_MS })
    return name
  }

  /**
   * @throws PULSE_SESSION_NOT_FOUND
   */
  async get(context: TenantContext, id: string): Promise<SessionView> {
    const found = await this.deps.db.tenant(context, async (tx) => {
      const [session, history] = await Promise.all([findSession(tx, id), findHistory(tx, id)])
      return session && { session, history }
    })
    if (!found) throw new SessionNotFound(id)
    return await viewSession(this.deps.objects, found.session, found.history)
  }

  /**
   * @returns the session after the command; `pending` true where it runs a step and takes the command at its end
   * @throws PULSE_SESSION_NOT_FOUND, PULSE_SESSION_CONFLICT (409) with the state that takes no such command
   */
  async command(
    context: TenantContext,
    id: string,
    command: Command,
    by: string
  ): Promise<{ session: SessionView; pending: boolean }> {
    const { actors, db } = this.deps
    const ref = { tenantId: context.tenantId, id }
    const sent: Sent = await db.tenant(context, async (tx) => {
      // The send locks the row anyway: reading it first, config and all, would only be done twice.
      const sent = await actors.send(tx, 'session', id, { type: command }, by).catch((error: unknown) => {
        throw error instanceof ActorNotFound ? new SessionNotFound(id) : error
      })
      const { outcome, state } = sent
      // `pending`: it was asked for; what became of it at the step's end is in the session's own history.
      const entry = { action: ACTIONS[command], subject: `session:${id}`, details: { outcome, state } }
      if (outcome !== 'refused') await audit(tx, entry)
      return sent
    })
    const answer = sent.outcome === 'pending' ? await actors.answer(ref, sent, ANSWER_MS) : sent
    if (answer.outcome === 'refused') throw new SessionConflict(id, command, answer.state)
    return { session: await this.get(context, id), pending: answer.outcome === 'pending' }
  }

  /** The tenant's limits for the slot row, from its plan. */
  async limits(tx: Tx): Promise<{ max: number | null; queueMax: number }> {
    const name = await findPlanName(tx)
    return { max: this.deps.plans.plans[name]?.concurrentSessions ?? null, queueMax: this.deps.queueMax[name] ?? 100 }
  }

  /** The tenant has another plan: its limits hold from now on, also for what waits already. */
  async changePlan(tx: Tx, tenantId: string): Promise<void> {
    this.planNames.delete(tenantId)
    await setLimits(tx, 'session', await this.limits(tx))
  }

  /** Writes pulse's own rows in the commit of their sessions. */
  async write(tx: Tx, entries: readonly WriteEntry[]): Promise<void> {
    const rows = entries.flatMap((entry) => (entry.rows as SessionRow[]).map((row) => ({ row, entry })))
    const checkpoints = rows.flatMap(({ row, entry }) =>
      row.kind === 'checkpoint' ? [{ id: row.id, sessionId: entry.ref.id, step: row.step, snapshot: row.snapshot }] : []
    )
    const results = rows.flatMap(({ row, entry }) =>
      row.kind === 'result' ? [{ id: entry.ref.id, result: row.result, ref: row.resultRef }] : []
    )
    const pauses = rows.flatMap(({ row, entry }) => {
      if (row.kind !== 'paused') return []
      const job: ExpireJob = {
        tenantId: entry.ref.tenantId,
        sessionId: entry.ref.id,
        reason: 'pause',
        moves: entry.moves
      }
      return [this.deps.jobs.send(tx, EXPIRE_JOB, job, { startAfter: row.pauseMs })]
    })
    const logs = rows.flatMap(({ row, entry }) =>
      row.kind === 'log' ? [{ sessionId: entry.ref.id, lines: row.lines }] : []
    )
    await Promise.all([insertCheckpoints(tx, checkpoints), setResults(tx, results), insertLines(tx, logs), ...pauses])
    for (const { state, ref } of entries) {
      if (state !== 'RUNNING') this.deps.db.afterCommit(tx, () => this.endIsolates(ref.tenantId, ref.id))
    }
  }

  /** A timer went off: ends the session if what it waited for is still so. Too late is no error. */
  async expire(job: ExpireJob): Promise<void> {
    const { actors, db } = this.deps
    await db.tenant(job.tenantId, async (tx) => {
      await lockSession(tx, job.sessionId) // what is read now still holds when the event is sent
      const session = await findSession(tx, job.sessionId)
      if (!session || session.endedAt) return
      // Resumed in time and waiting for a slot counts as resumed.
      const stillPaused = session.state === 'PAUSED' && session.moves === job.moves && !session.waiting
      if (job.reason === 'pause' && !stillPaused) return
      const event =
        job.reason === 'deadline'
          ? {
              type: 'EXPIRE',
              code: SESSION_ERRORS.DEADLINE,
              message: `the deadline ${session.deadline?.toISOString()} has passed`
            }
          : { type: 'EXPIRE', code: SESSION_ERRORS.PAUSE_EXPIRED, message: 'the pause lasted longer than it may' }
      await actors.send(tx, sessionKind.kind, job.sessionId, event, 'timer')
    })
  }

  private endIsolates(tenantId: string, id: string): void {
    if (this.deps.ports.has('tools')) this.deps.ports.get('tools').endSession(tenantId, id)
  }
}

function newSession(plan: SessionPlan, config: SessionConfig, by: string): NewActor {
  const id = newId()
  return {
    id,
    context: { ...INITIAL, plan } satisfies SessionContext,
    columns: {
      name: config.name ?? null,
      agent: config.agent ?? null,
      config,
      pinned: { skills: plan.skills, durationMs: plan.durationMs, toolCalls: plan.toolCalls ?? null },
      deadline: config.deadline ?? null
    },
    events: config.start === 'manual' ? [] : [{ type: 'QUEUE' }],
    announce: [sessionCreated(id, config)],
    by,
    band: PRIORITIES.indexOf(config.priority)
  }
}
