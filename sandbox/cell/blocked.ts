/**
 * What the thread says of itself in memory that both threads see, by index: entries and exits (odd: blocked), the call it
 * runs, the ms after which that is too long; and the writes that it handed over to the main thread and that wait there.
 */
export const Blocked = { count: 0, call: 1, timeoutMs: 2, handedOver: 3 } as const

export const BLOCKED_BYTES = 16
