import { createHash } from 'node:crypto'
import { normalizeIP } from '@fastify/rate-limit'
import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/types.ts'
import type { AppError } from '#core/errors.ts'
import { platformKey, type Redis, type RedisKey, tenantKey } from '#core/redis/index.ts'
import { type Counter, LocalCounter, SharedCounter } from './counter.ts'
import { RateLimited } from './errors.ts'
import { type Failures, type LimitTable, limitFor, WINDOW_MS } from './table.ts'
import type { Claimant, Limits, Payer, RouteClass, Standing } from './types.ts'

export interface LimitsOptions {
  readonly db: Db
  readonly clock: Clock
  readonly table: LimitTable
  /** Without it every host counts alone. */
  readonly redis?: Redis | null
}

/** How long a tenant's plan is believed: a new plan's limits hold after this time at the latest. */
const planMs = 30_000
const mostPlans = 10_000

/** Whose count stands: all hosts', or this one's alone. */
export type Reach = 'shared' | 'local' | 'local, Redis is away'

/** The limits of this process: whose request it is, what it counts as, how many there may be. */
export class RateLimits implements Limits {
  readonly counter: Counter
  readonly #db: Db
  readonly #clock: Clock
  readonly #table: LimitTable
  readonly #redis: Redis | null
  /** Attempts that have not ended, by the key of what they would count as. */
  readonly #attempts = new Map<RedisKey, number>()
  readonly #plans = new Map<string, { at: number; plan: Promise<string> }>()

  constructor({ db, clock, table, redis = null }: LimitsOptions) {
    this.#db = db
    this.#clock = clock
    this.#table = table
    this.#redis = redis
    this.counter = redis ? new SharedCounter(redis, clock) : new LocalCounter(clock)
  }

  reach(): Reach {
    if (!this.#redis) return 'local'
    return this.#redis.up ? 'shared' : 'local, Redis is away'
  }

  /** Requests a minute; null for no limit. */
  async limitOf(payer: Payer, kind: RouteClass): Promise<number | null> {
    if ('ip' in payer) return limitFor(this.#table, 'address', kind)
    return limitFor(this.#table, { plan: await this.#planOf(payer.tenantId) }, kind)
  }

  keyOf(payer: Payer, kind: RouteClass): RedisKey {
    if ('ip' in payer) return platformKey(`limit:${kind}:${addressOf(payer.ip)}`)
    return tenantKey(payer.tenantId, `limit:${kind}`)
  }

  async take(payer: Payer, kind: RouteClass): Promise<Standing | null> {
    const limit = await this.limitOf(payer, kind)
    if (limit === null) return null
    const { used, resetMs } = await this.counter.add(this.keyOf(payer, kind), WINDOW_MS)
    return { kind, limit, windowMs: WINDOW_MS, used, resetMs }
  }

  async admit(payer: Payer, kind: RouteClass): Promise<void> {
    const standing = await this.take(payer, kind)
    if (standing && standing.used > standing.limit) throw this.refusal(standing)
  }

  refusal({ kind, limit, windowMs, resetMs }: Standing): AppError {
    return new RateLimited({ kind, limit, windowMs, resetMs, now: this.#clock.now() })
  }

  async authAllowed(who: Claimant): Promise<void> {
    await Promise.all(this.#failuresOf(who).map((one) => this.#holdTo(one, (this.#attempts.get(one.key) ?? 0) + 1)))
  }

  async authBegin(who: Claimant): Promise<(wrong: boolean) => Promise<void>> {
    const failures = this.#failuresOf(who)
    // Counted before anything is waited for: of several at once each knows how manieth it is.
    const places = failures.map((one) => ({ one, place: this.#step(one.key, 1) }))
    const end = () => failures.forEach(({ key }) => void this.#step(key, -1))
    try {
      await Promise.all(places.map(({ one, place }) => this.#holdTo(one, place)))
    } catch (error) {
      end()
      throw error
    }
    return async (wrong) => {
      if (wrong) await this.authFailed(who)
      end()
    }
  }

  /** @param place of this attempt among those that have not ended @throws RateLimited (429) */
  async #holdTo({ key, most, minutes }: Failures & { key: RedisKey }, place: number): Promise<void> {
    const { used, resetMs } = await this.counter.read(key)
    const all = used + place
    if (all <= most) return
    // Where none has failed yet no window is open, and what is being tried now ends sooner than in a second.
    throw this.refusal({
      kind: 'auth',
      limit: most,
      windowMs: minutes * 60_000,
      used: all - 1,
      resetMs: resetMs || 1000
    })
  }

  #step(key: RedisKey, by: 1 | -1): number {
    const now = (this.#attempts.get(key) ?? 0) + by
    if (now > 0) this.#attempts.set(key, now)
    else this.#attempts.delete(key)
    return now
  }

  async authFailed(who: Claimant): Promise<void> {
    await Promise.all(this.#failuresOf(who).map(({ key, minutes }) => this.counter.add(key, minutes * 60_000)))
  }

  // An account is limited mostly where the attempts come from: otherwise whoever knows a key's prefix or an e-mail
  // could lock its owner out with ten wrong guesses. The limit of the account alone is for guesses from many places.
  #failuresOf({ ip, account }: Claimant): (Failures & { key: RedisKey })[] {
    const { address, accountAtAddress, account: alone } = this.#table.failures
    const at = addressOf(ip)
    const failures = [{ ...address, key: platformKey(`failed:${at}`) }]
    if (account !== undefined) {
      const whose = digest(account.toLowerCase())
      failures.push({ ...accountAtAddress, key: platformKey(`failed:${whose}:${at}`) })
      failures.push({ ...alone, key: platformKey(`failed:${whose}`) })
    }
    return failures
  }

  #planOf(tenantId: string): Promise<string> {
    const now = this.#clock.monotonic()
    const known = this.#plans.get(tenantId)
    if (known && now - known.at < planMs) return known.plan
    if (this.#plans.size >= mostPlans) this.#plans.clear()
    const plan = this.#db.system(async (tx) => {
      const [row] = await tx<{ plan: string }[]>`select plan from core.tenants where tenant_id = ${tenantId}`
      return row?.plan ?? ''
    })
    // While the database is away the last answer holds; without one nothing is limited: the route itself will fail.
    const safe = plan.catch(() => known?.plan ?? '')
    this.#plans.set(tenantId, { at: now, plan: safe })
    plan.catch(() => this.#plans.delete(tenantId))
    return safe
  }
}

// The names of keys carry nothing that says who: whoever can look into Redis sees them.
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}

/** One household has one address, or one /64 of them. */
function addressOf(ip: string): string {
  return digest(normalizeIP(ip, 64))
}
