import type { Db } from '#core/db/index.ts'

/** How long an answered command is kept: whoever sent it has long read the answer. */
const KEPT_HOURS = 1

/**
 * Deletes commands that were answered more than an hour ago, in batches so that no lock is held long. Open ones stay,
 * however old.
 * @returns how many
 */
export async function sweepInbox(db: Db, batch = 1000): Promise<number> {
  for (let deleted = 0; ; ) {
    const rows = await db.system(
      (tx) => tx`
        delete from core.inbox where (tenant_id, actor_id, id) in (
          select tenant_id, actor_id, id from core.inbox
          where outcome is not null and at < now() - make_interval(hours => ${KEPT_HOURS}) order by at limit ${batch})`
    )
    deleted += rows.count
    if (rows.count < batch) return deleted
  }
}
