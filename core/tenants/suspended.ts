import type { Tx } from '#core/db/types.ts'

/**
 * SQL: the suspended tenants, as uuid[]. In a condition it is asked once per statement; erased tenants have no rows to
 * be kept from.
 * @param tx of `db.system`
 */
export function suspendedTenants(tx: Tx) {
  return tx`array(select tenant_id from core.tenants where suspended_at is not null and erased_at is null)`
}
