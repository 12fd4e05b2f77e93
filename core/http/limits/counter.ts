import type { Clock } from '#core/clock.ts'
import type { Count, Redis, RedisKey } from '#core/redis/index.ts'

/** Counts keys in windows that begin with the first one counted. */
export interface Counter {
  /** Counts one and says how many there are. Never throws. */
  add(key: RedisKey, windowMs: number): Promise<Count>
  /** The same without counting. */
  read(key: RedisKey): Promise<Count>
}

interface Window {
  used: number
  /** By the monotonic clock. */
  endsAt: number
}

/** Keys kept at once: a flood of made-up ones must not grow the process, and costs the oldest their count. */
const mostKeys = 50_000

/** Counts of this process alone. */
export class LocalCounter implements Counter {
  readonly #clock: Clock
  readonly #windows = new Map<RedisKey, Window>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async add(key: RedisKey, windowMs: number): Promise<Count> {
    const now = this.#clock.monotonic()
    let window = this.#windows.get(key)
    if (!window || window.endsAt <= now) {
      this.#windows.delete(key) // to the end of the order
      window = { used: 0, endsAt: now + windowMs }
      if (this.#windows.size >= mostKeys) this.#forgetOldest()
      this.#windows.set(key, window)
    }
    window.used += 1
    return { used: window.used, resetMs: window.endsAt - now }
  }

  async read(key: RedisKey): Promise<Count> {
    const window = this.#windows.get(key)
    const resetMs = (window?.endsAt ?? 0) - this.#clock.monotonic()
    return window && resetMs > 0 ? { used: window.used, resetMs } : { used: 0, resetMs: 0 }
  }

  /** Ends a window earlier: who says so counts the same in one that began before. @param at by the monotonic clock */
  endBy(key: RedisKey, at: number): void {
    const window = this.#windows.get(key)
    if (window) window.endsAt = Math.min(window.endsAt, at)
  }

  #forgetOldest(): void {
    const [oldest] = this.#windows.keys()
    if (oldest !== undefined) this.#windows.delete(oldest)
  }
}

/**
 * Counts of all hosts, in Redis. Each host counts its own requests besides: while Redis is away, and when it comes back
 * empty, its count stands, so that nobody starts anew at zero, and nobody is refused for what another host let through.
 */
export class SharedCounter implements Counter {
  readonly #redis: Redis
  readonly #clock: Clock
  readonly #local: LocalCounter

  constructor(redis: Redis, clock: Clock) {
    this.#redis = redis
    this.#clock = clock
    this.#local = new LocalCounter(clock)
  }

  async add(key: RedisKey, windowMs: number): Promise<Count> {
    const own = await this.#local.add(key, windowMs)
    const asked = this.#clock.monotonic()
    const shared = await this.#redis.count(key, windowMs).catch(() => null) // told in the log by core/redis, once
    if (!shared) return own
    // Else our window would outlast the one whose end the client is told.
    this.#local.endBy(key, asked + shared.resetMs)
    return larger({ used: own.used, resetMs: Math.min(own.resetMs, shared.resetMs) }, shared)
  }

  async read(key: RedisKey): Promise<Count> {
    const own = await this.#local.read(key)
    return larger(own, await this.#redis.read(key).catch(() => own))
  }
}

function larger(own: Count, shared: Count): Count {
  return own.used > shared.used ? own : shared
}
