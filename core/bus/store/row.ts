import type { StoredEvent, StreamKind } from '#core/events.ts'

export interface EventRow {
  id: string
  seq: bigint
  tenantId: string
  stream: StreamKind
  type: string
  subject: string
  at: Date
  data: Record<string, unknown>
}

/** The event as others see it: on the platform's stream the publisher's tenant stays with the row. */
export function toEvent(row: EventRow): StoredEvent {
  const tenantId = row.stream === 'platform' ? null : row.tenantId
  return {
    id: row.id,
    seq: row.seq,
    tenantId,
    stream: row.stream,
    type: row.type,
    subject: row.subject,
    at: row.at.toISOString(),
    data: row.data
  }
}
