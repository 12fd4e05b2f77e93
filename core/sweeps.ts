import { z } from 'zod'
import { sweepInbox } from '#core/actors/sweep.ts'
import { sweepLogins } from '#core/auth/login/store.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Db } from '#core/db/types.ts'
import { sweepIdempotency } from '#core/http/idempotency.ts'
import type { Log } from '#core/log.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { Jobs } from '#core/queue/jobs.ts'
import { eraseDue } from '#core/tenants/erasure/erase.ts'
import type { Vault } from '#core/vault/vault.ts'

/** Deletes what the kernel keeps for a while only, and ends what was left half done; once an hour in the whole cluster. */
const SWEEP = 'core.sweep'
const DAY_MS = 24 * 60 * 60 * 1000

/** Apart from the other: a big tenant takes long to erase. */
const ERASE = 'core.erase'

interface SweepOptions {
  jobs: Jobs
  db: Db
  bus: Bus
  log: Log
  objects: ObjectStore
  vault: Pick<Vault, 'rotation' | 'shred'>
  /** Days for which a stream's history is kept; null: for ever. */
  retentionDays: number | null
}

/** Before the jobs start. */
export function defineSweeps({ jobs, db, bus, log, objects, vault, retentionDays }: SweepOptions): void {
  // A run that was missed needs no second try: the next hour's does the same.
  const sweep = async ({ signal }: { signal: AbortSignal }) => {
    await sweepIdempotency(db)
    await sweepInbox(db)
    await db.system(sweepLogins)
    if (retentionDays !== null) await bus.retain(retentionDays * DAY_MS, { signal })
    // What a host that died left of a rotation.
    await vault.rotation.run()
  }
  jobs.define(SWEEP, z.strictObject({}), sweep, { retryLimit: 0 })
  const erase = ({ signal }: { signal: AbortSignal }) => eraseDue({ db, log, objects, vault }, signal)
  jobs.define(ERASE, z.strictObject({}), erase, { retryLimit: 0, expireInSeconds: 3000 })
}

/** After the jobs started. Off the full hour, when everybody's cron runs. */
export async function scheduleSweeps(jobs: Jobs): Promise<void> {
  await jobs.schedule(SWEEP, '17 * * * *')
  await jobs.schedule(ERASE, '47 * * * *')
}
