import type { LimitTable } from '#core/http/limits/index.ts'

const few = { read: 3, write: 2, heavy: 1, auth: 1 }

/** Small numbers, so that a test reaches them. */
export const smallTable: LimitTable = {
  plans: { pro: few, enterprise: { read: null, write: null, heavy: null, auth: null } },
  otherPlans: { read: 1, write: 1, heavy: 1, auth: 1 },
  address: { read: 4, write: 2, heavy: 1, auth: 1 },
  failures: {
    address: { most: 5, minutes: 1 },
    accountAtAddress: { most: 2, minutes: 15 },
    account: { most: 3, minutes: 15 }
  }
}
