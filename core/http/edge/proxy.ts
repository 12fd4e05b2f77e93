import type { Clock } from '#core/clock.ts'
import type { App } from '#core/plugin.ts'
import type { EdgeOptions } from './types.ts'

/** Fastify's own hop count believes nobody (it cannot check who connects); a function may say what ours means. */
export function trusted(trustProxy: EdgeOptions['trustProxy'] = false) {
  if (trustProxy === false) return false
  if (typeof trustProxy === 'number') return (_address: string, hop: number) => hop < trustProxy
  return [...trustProxy]
}

/** A slot of the watch, and how many there are. */
const slotMs = 60_000
const slots = 5
/** Of fewer requests nothing is said: one person's header must not look like a proxy. */
const fewest = 10

interface Seen {
  all: number
  forwarded: number
}

/**
 * Whether a proxy stands in front that nobody told us of: every limit by address is then the proxy's. A proxy sets
 * X-Forwarded-For on everything; that somebody makes it up now and then says nothing.
 */
export class ForwardedWatch {
  readonly #clock: Clock
  readonly #slots: (Seen & { number: number })[] = []
  #told = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Requests of the last five minutes, and those of them that came with X-Forwarded-For while nobody's is believed. */
  get seen(): Seen {
    const oldest = this.#number() - slots
    const seen = { all: 0, forwarded: 0 }
    for (const { number, all, forwarded } of this.#slots) {
      if (number <= oldest) continue
      seen.all += all
      seen.forwarded += forwarded
    }
    return seen
  }

  /** Most of the last minutes' requests came through somebody. */
  get ignored(): boolean {
    const { all, forwarded } = this.seen
    return all >= fewest && forwarded * 2 > all
  }

  watch(app: App): void {
    app.addHook('onRequest', async (request) => {
      if (request.routeOptions.config?.quiet) return // probes come past the proxy
      const forwarded = request.headers['x-forwarded-for'] !== undefined
      this.#count(forwarded)
      if (!forwarded || this.#told || !this.ignored) return
      this.#told = true
      app.log.warn(
        { from: request.ip },
        'X-Forwarded-For is not believed: behind a proxy set TRUST_PROXY to its address, else all clients count as one'
      )
    })
  }

  #count(forwarded: boolean): void {
    const number = this.#number()
    let slot = this.#slots.at(-1)
    if (slot?.number !== number) {
      slot = { number, all: 0, forwarded: 0 }
      this.#slots.push(slot)
      if (this.#slots.length > slots) this.#slots.shift()
    }
    slot.all += 1
    if (forwarded) slot.forwarded += 1
  }

  #number(): number {
    return Math.floor(this.#clock.monotonic() / slotMs)
  }
}
