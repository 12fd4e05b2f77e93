import type { StoredEvent } from '#core/events.ts'

export type Listener = (streamId: string, events: StoredEvent[]) => void

/**
 * Carries numbered events from the relay to whoever follows. It may lose or repeat them: a feed notices by seq and
 * reads what is missing from core.event.
 */
export interface Transport {
  publish(streamId: string, events: StoredEvent[]): void
  /** @returns the way to stop listening */
  subscribe(listener: Listener): () => void
}

/** Within this process only. */
export function memoryTransport(): Transport {
  const listeners = new Set<Listener>()
  return {
    publish(streamId, events) {
      for (const listener of listeners) listener(streamId, events)
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    }
  }
}
