import { auditAs } from '#core/audit/audit.ts'
import type { Db, DbLog, Tx } from '#core/db/types.ts'
import { Internal } from '#core/errors.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { type Step, stepsOf } from './order.ts'

export interface EraseParts {
  db: Db
  log: DbLog
  objects?: Pick<ObjectStore, 'clear'>
  vault?: { shred(tx: Tx, tenantId: string): Promise<number> }
  /** Named steps as they are done. */
  onStep?(step: string): void
}

/** Everything of a tenant stands still 5 s after it was suspended; whoever was late has had as long again. */
const STILL_S = 10
/** Who restored in the last moment has committed by then: longer than a lock and a statement may take (core/db/pool.ts). */
const MARGIN_S = 60
/** One table of one tenant, however big. */
const STATEMENT_TIMEOUT = '30min'
/** What comes between two passes was written by somebody who does not stand still. */
const PASSES = 3

/**
 * Erases the tenants whose grace time is over, one after the other. One that fails is tried again by the next sweep.
 * @returns how many were erased
 */
export async function eraseDue(parts: EraseParts, signal?: AbortSignal): Promise<number> {
  const due = await parts.db.system(
    (tx) => tx<{ id: string }[]>`
      select tenant_id as id from core.tenants
      where ${isDue(tx)} and suspended_at <= now() - ${STILL_S} * interval '1 s'
      order by erase_at`
  )
  let erased = 0
  for (const { id } of due) {
    if (signal?.aborted) break
    try {
      if (await eraseTenant(parts, id, signal)) erased += 1
    } catch (error) {
      parts.log.error({ err: error, tenantId: id }, 'a tenant could not be erased; the next sweep goes on')
    }
  }
  return erased
}

/**
 * Erases one tenant whose grace time is over: secrets first (without their key nothing of them can be read, wherever a
 * copy is), then every table in a transaction of its own, then objects; last its row becomes a tombstone. Each step may
 * be done twice, so a sweep that died goes on where it was.
 * @returns false when it was stopped by `signal`
 */
export async function eraseTenant(parts: EraseParts, tenantId: string, signal?: AbortSignal): Promise<boolean> {
  const { db, log, vault, objects, onStep = () => {} } = parts
  await db.system(async (tx) => {
    // Whoever restores holds this lock, and after us is told that it is too late.
    const [due] = await tx`select 1 from core.tenants where tenant_id = ${tenantId} and ${isDue(tx)} for no key update`
    if (!due) throw new Internal(`tenant ${tenantId} is not due to be erased`)
    await vault?.shred(tx, tenantId)
  })
  onStep('vault')
  const steps = await db.system(stepsOf)
  const rows: Record<string, number> = {}
  for (let pass = 1, left = true; left; pass += 1) {
    if (pass > PASSES) throw new Internal(`rows of tenant ${tenantId} keep coming: something does not stand still`)
    left = false
    for (const step of steps) {
      if (signal?.aborted) return false
      const count = await deleteRows(db, step, tenantId)
      if (count > 0) {
        rows[step.table] = (rows[step.table] ?? 0) + count
        left = true
      }
      onStep(step.table)
    }
  }
  const files = (await objects?.clear(tenantId)) ?? 0
  onStep('objects')
  const total = Object.values(rows).reduce((sum, count) => sum + count, 0)
  await db.system((tx) => bury(tx, tenantId, { rows: total, objects: files }))
  log.info({ tenantId, rows, objects: files }, 'tenant erased')
  return true
}

function isDue(tx: Tx) {
  return tx`erase_at <= now() - ${MARGIN_S} * interval '1 s' and erased_at is null`
}

// In one statement: of rows that it may only delete, agentos_system sees tenant_id, by which there are no batches.
async function deleteRows(db: Db, { table, where }: Step, tenantId: string): Promise<number> {
  return await db.system(async (tx) => {
    await tx`select set_config('statement_timeout', ${STATEMENT_TIMEOUT}, true)`
    const done = await tx.unsafe(`delete from ${table} where ${where}`, [tenantId])
    return done.count
  })
}

/** What stays: the id, which nothing may get again, when it came and went, and where it lived. Noted with the operator. */
async function bury(tx: Tx, tenantId: string, count: { rows: number; objects: number }): Promise<void> {
  const done = await tx`
    update core.tenants set name = 'erased', slug = 'erased-' || replace(tenant_id::text, '-', ''), settings = '{}',
      agent_limit = null, suspended_reason = null, erased_at = now()
    where tenant_id = ${tenantId} and erase_at <= now() and erased_at is null`
  if (done.count === 0) return
  const actor = { kind: 'system' as const, id: 'erasure' }
  await auditAs(tx, TENANT_ZERO, actor, { action: 'tenant.erased', subject: `tenant:${tenantId}`, details: count })
}
