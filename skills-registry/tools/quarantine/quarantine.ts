import { audit } from '#core/audit/audit.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db, TenantContext, Tx } from '#core/db/index.ts'
import { errorMessage } from '#core/errors.ts'
import { type PinnedSkill, ToolError } from '#core/ports/tools.ts'
import type { SandboxError } from '#sandbox/index.ts'
import { ToolQuarantined } from '../events.ts'
import { crashReason } from './crash.ts'
import { SkillQuarantined } from './errors.ts'
import { noteCrash, openQuarantines, type QuarantineRow, type Version } from './store.ts'

/** A host asks the database no more often than this about one version of one tenant. */
const CACHE_MS = 5000
const MAX_CACHED = 10_000
const MAX_STEP_CHARS = 200

export interface QuarantineDeps {
  readonly db: Db
  readonly bus: Pick<Bus, 'emit'>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: { error(fields: object, message: string): void }
}

/** Which skill versions run no more for a tenant, because they ended the process that ran them again and again. */
export class Quarantine {
  readonly #deps: QuarantineDeps
  readonly #cached = new Map<string, { until: number; row: Promise<QuarantineRow | undefined> }>()

  constructor(deps: QuarantineDeps) {
    this.#deps = deps
  }

  /**
   * Before a call. What another host decided is seen within 5 s, what this one did at once.
   * @throws ToolError TOOL_QUARANTINED (not retryable)
   */
  async check(context: TenantContext, { digest }: Pick<PinnedSkill, 'digest'>): Promise<void> {
    const row = await this.#open(context, digest)
    if (!row) return
    const { id, skill, version, since } = row
    const details = { quarantineId: id, skill, version, digest, since: since.toISOString() }
    throw new ToolError('TOOL_QUARANTINED', row.explanation, { retryable: false, details })
  }

  /**
   * After a call that failed: counts it where it was a crash of its skill. Never throws: a crash that cannot be noted is
   * logged, and the call keeps its own error.
   */
  async crashed(
    context: TenantContext,
    { skill, sessionId, step, error }: { skill: Version; sessionId: string; step: string; error: SandboxError }
  ): Promise<void> {
    const reason = crashReason(error)
    if (reason === undefined) return
    const crash = { sessionId, step: step.slice(0, MAX_STEP_CHARS), code: error.code, reason }
    try {
      await this.#deps.db.tenant(context, async (tx) => {
        const opened = await noteCrash(tx, skill, crash)
        if (opened) await this.#tell(tx, opened)
      })
    } catch (err) {
      this.#deps.log.error({ err, sessionId, step, error: errorMessage(err) }, 'a crash of a skill could not be noted')
    }
    this.forget(context.tenantId, skill.digest)
  }

  /** The next check asks the database. */
  forget(tenantId: string, digest: string): void {
    this.#cached.delete(keyOf(tenantId, digest))
  }

  async #tell(tx: Tx, { skillId, skill, version, digest, crashes, explanation }: QuarantineRow): Promise<void> {
    const details = { skill, version, digest, crashes: crashes.length }
    await Promise.all([
      this.#deps.bus.emit(tx, ToolQuarantined, skillId, { skillId, skill, version, digest, crashes, explanation }),
      audit(tx, { action: 'tool.quarantined', subject: `skill:${skillId}`, details })
    ])
  }

  #open(context: TenantContext, digest: string): Promise<QuarantineRow | undefined> {
    const key = keyOf(context.tenantId, digest)
    const now = this.#deps.clock.monotonic()
    const known = this.#cached.get(key)
    if (known && now < known.until) return known.row
    const row = this.#deps.db.tenant(context, async (tx) => (await openQuarantines(tx, [digest]))[0])
    const entry = { until: now + CACHE_MS, row }
    this.#cached.delete(key)
    this.#cached.set(key, entry)
    row.catch(() => {
      if (this.#cached.get(key) === entry) this.#cached.delete(key)
    })
    if (this.#cached.size > MAX_CACHED) this.#cached.delete(this.#cached.keys().next().value ?? '')
    return row
  }
}

/**
 * For `resolve`: no new session takes a version that stands still.
 * @param pinned in the order of the session's refs; hidden ones behind them
 * @throws SKILLS_QUARANTINED (422) with the ref's place
 */
export async function refuseQuarantined(tx: Tx, pinned: readonly PinnedSkill[]): Promise<void> {
  if (pinned.length === 0) return
  const rows = await openQuarantines(
    tx,
    pinned.map(({ digest }) => digest)
  )
  for (const [index, skill] of pinned.entries()) {
    const row = rows.find(({ digest }) => digest === skill.digest)
    if (!row) continue
    const { id, version, digest, explanation } = row
    const details = {
      quarantineId: id,
      skill: skill.name,
      version,
      digest,
      since: row.since.toISOString(),
      explanation
    }
    throw new SkillQuarantined(skill.hidden ? null : index, details)
  }
}

function keyOf(tenantId: string, digest: string): string {
  return `${tenantId}\n${digest}`
}
