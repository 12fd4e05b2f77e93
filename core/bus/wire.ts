import type { StoredEvent } from '#core/events.ts'

/** Shape of an event on WebSocket, SSE and in lists. */
export function wireEvent(event: StoredEvent) {
  return {
    event: event.type,
    seq: Number(event.seq),
    tenantId: event.tenantId,
    ...(event.stream === 'platform' ? { stream: 'platform' } : {}),
    subject: event.subject,
    at: event.at,
    data: event.data
  }
}
