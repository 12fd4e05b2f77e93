import { hash } from 'node:crypto'
import type { CallRecord, Recording } from '#core/ports/tools.ts'

type Sealed = Omit<CallRecord, 'input' | 'seal'> & Pick<Recording['calls'][number], 'input' | 'session'>

/**
 * sha256 hex over what a replay relies on in a call's record, its input included. Without the message of a failure: that is
 * compared, and a database may have changed it. Nothing in it depends on an order that jsonb does not keep.
 */
export function sealOf(call: Sealed): string {
  const { session, limits, outcome, data = {} } = call
  const result = 'code' in outcome ? [outcome.code, outcome.limit] : [outcome.output, outcome.bytes]
  const parts = [
    [call.key, call.digest, call.tool, call.input, call.time, call.seed, call.capabilities],
    [session.id, session.tenantId, session.step, session.attempt, session.effectKey],
    [limits.cpuMs, limits.wallMs, limits.memoryMb, limits.hostCalls],
    [call.generation, call.nth, call.wakes, call.hostDigest, result],
    Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1))
  ]
  return hash('sha256', JSON.stringify(parts))
}

/** What the skill saw as ctx.session. */
export function sessionOf(
  { step, attempt, effectKey }: Pick<CallRecord, 'step' | 'attempt' | 'effectKey'>,
  tenantId: string,
  sessionId: string
) {
  return { id: sessionId, tenantId, step, attempt, effectKey }
}
