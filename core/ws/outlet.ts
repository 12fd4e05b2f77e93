import type { WebSocket } from 'ws'
import type { Clock, Timer } from '#core/clock.ts'

export interface OutletLimits {
  /** Above this many unsent bytes no event is added; what follows waits in the table. */
  highBytes: number
  /** Above this many the client is cut off. */
  maxBytes: number
  /** A client that takes nothing for this long is cut off. */
  stalledMs: number
}

/** The sending side of a socket: knows how much the client has not taken yet. */
export class Outlet {
  readonly #socket: WebSocket
  readonly #clock: Clock
  readonly #limits: OutletLimits
  readonly #onSlow: () => void
  readonly #onDrain = new Set<() => void>()
  #stalled: Timer | undefined

  constructor(socket: WebSocket, clock: Clock, limits: OutletLimits, onSlow: () => void) {
    this.#socket = socket
    this.#clock = clock
    this.#limits = limits
    this.#onSlow = onSlow
  }

  get full(): boolean {
    return this.#socket.bufferedAmount > this.#limits.highBytes
  }

  send(text: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#socket.send(text, () => this.#written())
    if (this.#socket.bufferedAmount > this.#limits.maxBytes) this.#onSlow()
    else if (this.#socket.bufferedAmount > 0) this.#watch()
  }

  /** Called once when the client has taken most of what it was sent. */
  whenDrained(run: () => void): void {
    this.#onDrain.add(run)
    if (!this.full) this.#written()
  }

  stop(): void {
    this.#stalled?.cancel()
    this.#onDrain.clear()
  }

  // Every write that went through shows that the client is alive: the wait starts anew.
  #written(): void {
    this.#stalled?.cancel()
    this.#stalled = undefined
    if (this.#socket.bufferedAmount > 0) this.#watch()
    if (this.#socket.bufferedAmount > this.#limits.highBytes / 2) return
    const waiting = [...this.#onDrain]
    this.#onDrain.clear()
    for (const run of waiting) run()
  }

  #watch(): void {
    this.#stalled ??= this.#clock.after(this.#limits.stalledMs, () => this.#onSlow())
  }
}
