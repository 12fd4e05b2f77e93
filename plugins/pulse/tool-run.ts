import type { EffectCall, Json, Note } from '#core/actors/index.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/index.ts'
import { pending } from '#core/events.ts'
import { storableText } from '#core/json.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { Ports } from '#core/ports/ports.ts'
import { type CallRecord, type PinnedSkill, type ToolCall, ToolError, type ToolUsage } from '#core/ports/tools.ts'
import { SessionProgress, SessionUsage, type UsageData } from './events.ts'
import { CallLog, LOG_MAX } from './log.ts'
import { insertLines } from './log-store.ts'
import type { SessionContext } from './machine.ts'
import { Progress } from './progress.ts'
import { raisePct } from './store.ts'
import { microseconds, type Trace, type Used } from './usage.ts'

export interface EffectDeps {
  readonly db: Db
  readonly bus: Bus
  readonly ports: Ports
  readonly objects: ObjectStore
  readonly clock: Clock
  readonly log: { error(fields: object, message: string): void; warn(fields: object, message: string): void }
}

/** Longest message of a failure in a record, characters: the sandbox's own bound. */
const MAX_MESSAGE = 16 * 1024

/** Which attempt of which step, and whether it takes the step back. */
export interface RunPlace {
  readonly step: string
  readonly undo: boolean
  readonly attempt: number
  readonly effectKey: string
}

export interface RunRequest extends Pick<ToolCall, 'tool' | 'input' | 'time' | 'seed' | 'timeoutMs' | 'left'> {
  readonly skill: PinnedSkill
}

/** One attempt of a step, from its call to what its commit carries: usage, log, record. */
export class ToolRun {
  readonly log: CallLog
  private readonly deps: EffectDeps
  private readonly call: EffectCall<SessionContext>
  private readonly place: RunPlace
  private readonly progress: Progress | null
  private readonly started: number
  private asked: RunRequest | null = null
  private usage: ToolUsage | null = null
  private record: CallRecord | null = null

  constructor(deps: EffectDeps, call: EffectCall<SessionContext>, place: RunPlace) {
    const { clock, db, log } = deps
    const { context, ref } = call
    const { limits, steps } = context.plan.config
    this.deps = deps
    this.call = call
    this.place = place
    this.started = clock.monotonic()
    const { step, undo, attempt } = place
    const mostBytes = Math.min(limits.logBytes ?? LOG_MAX.bytes, LOG_MAX.bytes)
    this.log = new CallLog({
      clock,
      place: { step, undo, attempt },
      left: { lines: LOG_MAX.lines - context.logLines, bytes: mostBytes - context.logBytes },
      write: (lines) => db.tenant(ref.tenantId, (tx) => insertLines(tx, [{ sessionId: ref.id, lines }])),
      failed: (err) => log.warn({ err, sessionId: ref.id, step }, 'lines of a session are not in its log yet')
    })
    this.progress = undo
      ? null
      : new Progress({ clock, done: context.step, steps: steps.length, announce: (pct) => this.announce(pct) })
  }

  /** @throws ToolError and whatever a provider throws; what the call used is known all the same */
  async run(request: RunRequest): Promise<unknown> {
    const { context, ref, signal } = this.call
    const { step, attempt, effectKey } = this.place
    const { skills, toolCalls } = context.plan
    this.asked = request
    try {
      const { output, usage, record } = await this.deps.ports.get('tools').call({
        ...request,
        tenantId: ref.tenantId,
        sessionId: ref.id,
        skills,
        step,
        attempt,
        effectKey,
        ...(toolCalls === undefined || toolCalls === null ? {} : { concurrency: toolCalls }),
        signal,
        onLog: ({ level, message }) => this.log.add(level, message),
        onProgress: (fraction, message) => {
          this.progress?.report(fraction)
          if (message !== undefined) this.log.add('info', message)
        }
      })
      this.usage = usage
      this.record = record
      return output
    } catch (error) {
      if (error instanceof ToolError) {
        this.usage = error.usage ?? null
        this.record = error.record ?? null
      }
      throw error
    } finally {
      await this.progress?.end()
    }
  }

  /** What it used so far; `cpuMs` 0 where no sandbox ran. */
  used(): Used {
    const { clock } = this.deps
    return {
      activeMs: Math.round(clock.monotonic() - this.started),
      cpuMs: microseconds(this.usage?.cpuMs ?? 0),
      hostCalls: this.usage?.hostCalls ?? 0,
      tokens: this.usage?.tokens ?? 0,
      at: clock.now()
    }
  }

  /** Which isolate ran it; 0 where none did. */
  get generation(): number {
    return this.record?.generation ?? 0
  }

  /** The end of the attempt: what its commit carries. */
  async end(outcome: UsageData['outcome']): Promise<{ trace: Trace; notes: Note[] }> {
    const { total } = this.log
    const lines = await this.log.end()
    const { record } = this
    return {
      trace: { usage: this.usageData(outcome), lines, logged: total },
      notes: record ? [noteOf(record)] : []
    }
  }

  /** It was cut off, and nothing of it will be committed: what it used and said is told all the same. Never throws. */
  async cutOff(): Promise<void> {
    const { db, bus, log } = this.deps
    const { ref, epoch } = this.call
    const lines = await this.log.end()
    const usage = this.usageData('cut_off')
    if (usage === null && lines.length === 0) return
    const told = usage && pending(SessionUsage, ref.id, { ...usage, key: `${usage.key}/cut_off/${epoch}` })
    const work = db.tenant(ref.tenantId, (tx) =>
      Promise.all([insertLines(tx, [{ sessionId: ref.id, lines }]), told ? bus.emitAll(tx, [told]) : undefined])
    )
    await work.catch((err: unknown) =>
      log.warn({ err, sessionId: ref.id }, 'the usage of a call that was cut off is lost')
    )
  }

  private usageData(outcome: UsageData['outcome']): UsageData | null {
    const { usage, asked, place } = this
    if (!usage || !asked) return null
    const { step, attempt, effectKey } = place
    const { skill, tool } = asked
    const { hostCalls, tokens, calls, killed } = usage
    return {
      sessionId: this.call.ref.id,
      key: `${effectKey}#${attempt}`,
      step,
      attempt,
      outcome,
      skill: skill.name,
      version: skill.version,
      tool,
      cpuMs: microseconds(usage.cpuMs),
      wallMs: microseconds(usage.wallMs),
      hostCalls,
      tokens,
      calls,
      killed
    }
  }

  // A transaction of its own while the step runs: the row says whether it still does, and how far the session has come.
  private async announce(pct: number): Promise<void> {
    const { db, bus, log } = this.deps
    const { context, ref, epoch } = this.call
    const data = { sessionId: ref.id, step: this.place.step, pct }
    const work = db.tenant(ref.tenantId, async (tx) => {
      if (await raisePct(tx, { id: ref.id, epoch, step: context.step, pct }))
        await bus.emit(tx, SessionProgress, ref.id, data)
    })
    await work.catch((err: unknown) => log.warn({ err, sessionId: ref.id }, 'progress of a step was not announced'))
  }
}

// Of all in a record only the message is a stranger's own text; what a column does not take would hold the outcome up.
function noteOf(record: CallRecord): Note {
  const { outcome } = record
  const stored = 'code' in outcome ? { ...outcome, message: storableText(outcome.message, MAX_MESSAGE) } : outcome
  return { key: `call:${record.key}`, record: { ...record, outcome: stored } as unknown as Json }
}
