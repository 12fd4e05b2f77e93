import type { Tx } from '#core/db/types.ts'

/**
 * Puts jobs of suspended tenants back, to wait until their tenant is resumed (the trigger of sql/0003 wakes them). In
 * the state `retry`: a waiting job of the same key may have come meanwhile. The run does not count as an attempt.
 * @param tx of `db.system`
 * @returns the ids of those that were put back and must not run
 */
export async function parkSuspended(tx: Tx, ids: readonly string[]): Promise<Set<string>> {
  // The lock is taken on suspended tenants only. Whoever resumes one waits for it and then sees what was parked.
  const rows = await tx<{ id: string }[]>`
    with suspended as (
      select tenant_id from core.tenants
      where suspended_at is not null and tenant_id in (
        select (data ->> 'tenantId')::uuid from pgboss.job_common where id = any (${[...ids]}::uuid[]))
      for share
    )
    update pgboss.job_common j set state = 'retry', started_on = null, heartbeat_on = null, start_after = 'infinity',
      keep_until = 'infinity'
    from suspended s
    where j.id = any (${[...ids]}::uuid[]) and j.state = 'active' and (j.data ->> 'tenantId')::uuid = s.tenant_id
    returning j.id`
  return new Set(rows.map((row) => row.id))
}
