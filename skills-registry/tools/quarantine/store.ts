import type { Tx } from '#core/db/index.ts'
import type { Position } from '#core/http/page.ts'
import { newId } from '#core/ids.ts'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { type Crash, explain, MAX_CRASHES, WINDOW_MINUTES } from './crash.ts'

export type StoredCrash = Crash & { at: string }

export interface QuarantineRow {
  id: string
  tenantId: string
  digest: string
  skill: string
  version: string
  skillId: string
  since: Date
  explanation: string
  crashes: StoredCrash[]
  liftedAt: Date | null
  liftedBy: string | null
  liftReason: string | null
}

/** Where a row stands in a list: see `byRank`. */
export type RankedRow = QuarantineRow & { position: string }

/** Which version crashed. */
export type Version = Pick<PinnedSkill, 'skillId' | 'name' | 'version' | 'digest'>

/**
 * Notes a crash, and opens the quarantine with the third one of the last ten minutes and since the last lift. Crashes of a
 * tenant are noted one after the other: two hosts that each note one do not both see two.
 * @returns the quarantine that this crash opened
 */
export async function noteCrash(tx: Tx, skill: Version, crash: Crash): Promise<QuarantineRow | undefined> {
  const { digest, name, version, skillId } = skill
  await tx`select from core.tenants where tenant_id = (select core.tenant()) for no key update`
  await tx`
    insert into tools.crash (id, digest, skill, version, session_id, step, code, reason)
    values (${newId()}, ${digest}, ${name}, ${version}, ${crash.sessionId}, ${crash.step}, ${crash.code}, ${crash.reason})`
  // What is older tells nobody anything; the newest ones stay until the next crash.
  await tx`delete from tools.crash where tenant_id = (select core.tenant()) and at < now() - interval '1 day'`
  const crashes = await tx<(Crash & { at: Date })[]>`
    select session_id as "sessionId", step, code, reason, at from tools.crash
    where tenant_id = (select core.tenant()) and digest = ${digest}
      and at > now() - make_interval(mins => ${WINDOW_MINUTES})
      and at > coalesce((select max(lifted_at) from tools.quarantine
        where tenant_id = (select core.tenant()) and digest = ${digest}), '-infinity')
    order by at, id`
  if (crashes.length < MAX_CRASHES) return undefined
  const told = crashes.map(({ at, ...one }) => ({ ...one, at: at.toISOString() }))
  const [opened] = await tx<QuarantineRow[]>`
    insert into tools.quarantine (id, digest, skill, version, skill_id, explanation, crashes)
    values (${newId()}, ${digest}, ${name}, ${version}, ${skillId}, ${explain(name, version, told)}, ${tx.json(told)})
    on conflict (tenant_id, digest) where lifted_at is null do nothing
    returning ${columns(tx)}`
  return opened
}

/** The open quarantines of these digests. */
export async function openQuarantines(tx: Tx, digests: readonly string[]): Promise<QuarantineRow[]> {
  return await tx<QuarantineRow[]>`
    select ${columns(tx)} from tools.quarantine
    where tenant_id = (select core.tenant()) and digest = any(${[...digests]}) and lifted_at is null`
}

/** Of the tenant, one more than `limit` where there is one. */
export async function listQuarantines(tx: Tx, limit: number, after: Position | null): Promise<RankedRow[]> {
  return await ranked(tx, tx`tenant_id = (select core.tenant())`, limit, after)
}

/** Of one tenant, or of all. @param tx of `db.system` */
export async function listAllQuarantines(
  tx: Tx,
  tenantId: string | undefined,
  limit: number,
  after: Position | null
): Promise<RankedRow[]> {
  return await ranked(tx, tenantId === undefined ? tx`true` : tx`tenant_id = ${tenantId}`, limit, after)
}

/** @param tx of `db.system` */
export async function findQuarantine(tx: Tx, id: string): Promise<QuarantineRow | undefined> {
  const [row] = await tx<QuarantineRow[]>`select ${columns(tx)} from tools.quarantine where id = ${id}`
  return row
}

/**
 * @param tx of `db.system`
 * @returns undefined where there is no such open quarantine
 */
export async function liftQuarantine(
  tx: Tx,
  id: string,
  { by, reason }: { by: string; reason: string }
): Promise<QuarantineRow | undefined> {
  const [row] = await tx<QuarantineRow[]>`
    update tools.quarantine set lifted_at = now(), lifted_by = ${by}, lift_reason = ${reason}
    where id = ${id} and lifted_at is null returning ${columns(tx)}`
  return row
}

// Open ones first, newest first; then the lifted, last lifted first. A cursor has one time, so what is open ranks as if it
// were a thousand years later.
function ranked(tx: Tx, whose: ReturnType<Tx>, limit: number, after: Position | null) {
  return tx<RankedRow[]>`
    select * from (
      select ${columns(tx)}, rank, rank::text as position
      from tools.quarantine, coalesce(lifted_at, since + interval '1000 years') as rank where ${whose}
    ) q
    where ${after ? tx`(rank, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by rank desc, id desc limit ${limit + 1}`
}

function columns(tx: Tx) {
  return tx`id, tenant_id as "tenantId", digest, skill, version, skill_id as "skillId", since, explanation, crashes,
    lifted_at as "liftedAt", lifted_by as "liftedBy", lift_reason as "liftReason"`
}
