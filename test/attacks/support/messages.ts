/** What the oracle asks of the engine process, and what comes back. */
export type Ask =
  | {
      id: number
      do: 'attack'
      attack: number
      variant: number
      verified: boolean
      /** After quick calls of the same isolate, which then run on the cell's own thread. */
      warmed: boolean
      tenantId: string
      sessionId: string
    }
  | { id: number; do: 'call'; tenantId: string }
  | { id: number; do: 'close' }

export interface Answer {
  id: number
  /** OK or the error's code. */
  outcome: string
  ms: number
  cpuMs?: number
  output?: unknown
  /** Everything that reached the tenant or the author, as text: message, details, logs. */
  shown: string
  logLines: number
  logBytes: number
  retryable: boolean
  /** Its process was killed under it. */
  killed?: boolean
  /** Through the port: actions of the audit rows that the skill left in its tenant. */
  audited?: string[]
  /** Through the port: rows of this session that stand with another tenant, and events under a stranger's name. */
  foreign?: number
}
