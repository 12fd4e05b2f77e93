import type { Redis as Connection } from 'ioredis'
import type { Clock } from '#core/clock.ts'
import { errorMessage } from '#core/errors.ts'
import type { Log } from '#core/log.ts'
import { must } from '#core/must.ts'
import type { Secret } from '#core/secret.ts'
import { RedisAway } from './errors.ts'
import type { RedisKey } from './keys.ts'

/** How often something was counted in the current window, and how long that window still is. */
export interface Count {
  readonly used: number
  /** Milliseconds; 0 where nothing was counted. */
  readonly resetMs: number
}

export interface RedisOptions {
  /** redis:// or rediss://, with login and password. */
  url: Secret
  clock: Clock
  log: Log
  /** A command that takes longer counts as failed. Default 100. */
  commandMs?: number
}

/** After a failure nobody asks for so long: one slow answer must not become one per request. */
const restMs = 1000
const connectMs = 2000
const longestRetryMs = 5000

/**
 * The one connection to Redis. It holds nothing that must not get lost, and never holds a request up: what does not
 * answer at once throws RedisAway, in the background it connects again. Takes made keys only (keys.ts).
 */
export class Redis {
  readonly #url: Secret
  readonly #commandMs: number
  #connection: Connection | null = null
  readonly #clock: Clock
  readonly #log: Log
  /** By the monotonic clock: until then nobody asks. */
  #restUntil = 0
  #away = false

  constructor({ url, clock, log, commandMs = 100 }: RedisOptions) {
    this.#url = url
    this.#commandMs = commandMs
    this.#clock = clock
    this.#log = log
  }

  /** Connects; resolves when it stands, or when it is clear that it does not yet. Never rejects. */
  async connect(): Promise<void> {
    // 0.15 s of every start to load, and most hosts have no Redis.
    const { Redis: Connection } = await import('ioredis')
    const connection = new Connection(this.#url.reveal(), {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false, // needs INFO, which the ACL refuses
      disableClientInfo: true,
      connectionName: 'agentos',
      connectTimeout: connectMs,
      commandTimeout: this.#commandMs,
      retryStrategy: (attempt) => Math.min(attempt * 100, longestRetryMs)
    })
    // Without a listener ioredis writes to the console; who asks is told by RedisAway.
    connection.on('error', (error) => this.#failed(error))
    connection.on('ready', () => this.#back())
    this.#connection = connection
    await connection.connect().catch((error) => this.#failed(error))
  }

  /** False while it is known to be away. */
  get up(): boolean {
    return this.#connection?.status === 'ready' && !this.#away
  }

  /**
   * Counts one in a window that begins with the first.
   * @throws RedisAway
   */
  async count(key: RedisKey, windowMs: number): Promise<Count> {
    return await this.#ask(async (redis) => {
      // One transaction, so that no key is left without an end.
      const replies = await redis.multi().set(key, 0, 'PX', windowMs, 'NX').incr(key).pttl(key).exec()
      const [, used, resetMs] = must(replies, 'the replies of a transaction').map(([error, reply]) => {
        if (error) throw error
        return Number(reply)
      })
      return { used: must(used, 'the count'), resetMs: Math.max(0, must(resetMs, 'the window')) }
    })
  }

  /** The same without counting. @throws RedisAway */
  async read(key: RedisKey): Promise<Count> {
    return await this.#ask(async (redis) => {
      const [used, resetMs] = await Promise.all([redis.get(key), redis.pttl(key)])
      return { used: Number(used ?? 0), resetMs: Math.max(0, resetMs) }
    })
  }

  /** @throws RedisAway */
  async ping(): Promise<void> {
    await this.#ask((redis) => redis.ping())
  }

  /**
   * Which of these commands this login could run. None is run: they are queued in a transaction that is thrown away, and
   * the server refuses at queueing what the ACL forbids.
   * @throws RedisAway
   */
  async permitted(commands: readonly (readonly [string, ...string[]])[]): Promise<string[]> {
    // A connection of its own: other people's commands must not get into this transaction.
    if (!this.#connection) throw new RedisAway('it is not connected yet')
    const probe = this.#connection.duplicate({ retryStrategy: () => null, commandTimeout: connectMs })
    probe.on('error', () => {}) // told by the calls below
    try {
      await probe.connect()
      await probe.call('MULTI')
      const allowed: string[] = []
      for (const command of commands) {
        const [name, ...values] = command
        const answer = await probe.call(name, ...values).catch((error) => {
          if (/^NOPERM\b/.test(errorMessage(error))) return 'refused'
          throw error
        })
        if (answer !== 'refused') allowed.push(command.join(' '))
      }
      return allowed
    } catch (error) {
      throw new RedisAway(error)
    } finally {
      probe.disconnect() // and with it the transaction
    }
  }

  /** Nobody is answered any more. */
  close(): void {
    this.#connection?.disconnect()
  }

  async #ask<T>(work: (redis: Connection) => Promise<T>): Promise<T> {
    if (!this.#connection) throw new RedisAway('it is not connected yet')
    if (this.#away && this.#clock.monotonic() < this.#restUntil) throw new RedisAway('it did not answer a moment ago')
    try {
      const answer = await work(this.#connection)
      this.#back()
      return answer
    } catch (error) {
      this.#failed(error)
      throw new RedisAway(error)
    }
  }

  // Said once per way out and back, however many ask.
  #failed(error: unknown): void {
    this.#restUntil = this.#clock.monotonic() + restMs
    if (this.#away) return
    this.#away = true
    this.#log.warn({ reason: errorMessage(error) }, 'Redis is away: this host goes on without it')
  }

  #back(): void {
    if (!this.#away) return
    this.#away = false
    this.#log.info('Redis is back')
  }
}

/** The connection of this process; nothing is connected yet. */
export function createRedis(options: RedisOptions): Redis {
  return new Redis(options)
}
