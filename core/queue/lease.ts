/** A lease lasts this long by the database's clock. A dead host's work is taken over within LEASE_MS + SCAN_MS. */
export const LEASE_MS = 6000
/** Leases are renewed this often; three renewals fit into one lease. */
export const RENEW_MS = 2000
/** How often a host looks for work when nobody hints: queued actors. */
export const POLL_MS = 500
/** How often a host looks for leases that ran out. */
export const SCAN_MS = 1000

/** Names one leased activation; a renewal that does not return it has lost it. */
export interface LeaseKey {
  readonly tenantId: string
  readonly id: string
  readonly epoch: number
}
