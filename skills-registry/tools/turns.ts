import type { Db, TenantContext } from '#core/db/index.ts'

/** Transactions of skills on a host: of one tenant, and of all. Requests of people share the pool (16) with them. */
const DB_TURNS = { perTenant: 3, inAll: 8 } as const

interface Waiting {
  running: number
  readonly queue: (() => void)[]
}

/**
 * Lets so many works of a tenant, and of all tenants, run at once; who waits is served a tenant at a time, in turn. Nothing
 * limits how many wait: sandbox calls do, and the host calls that each may have under way.
 */
export class Turns {
  readonly #limits: { perTenant: number; inAll: number }
  /** Those that have work, in the order in which they are served next. */
  readonly #tenants = new Map<string, Waiting>()
  #running = 0

  constructor(limits: { perTenant: number; inAll: number }) {
    this.#limits = limits
  }

  async run<T>(tenantId: string, work: () => Promise<T>): Promise<T> {
    await this.#enter(tenantId)
    try {
      return await work()
    } finally {
      this.#leave(tenantId)
    }
  }

  #enter(tenantId: string): Promise<void> {
    const tenant = this.#tenants.get(tenantId) ?? { running: 0, queue: [] }
    this.#tenants.set(tenantId, tenant)
    const { promise, resolve } = Promise.withResolvers<void>()
    tenant.queue.push(resolve)
    this.#serve()
    return promise
  }

  #leave(tenantId: string): void {
    const tenant = this.#tenants.get(tenantId)
    this.#running -= 1
    if (tenant) {
      tenant.running -= 1
      if (tenant.running === 0 && tenant.queue.length === 0) this.#tenants.delete(tenantId)
    }
    this.#serve()
  }

  #serve(): void {
    while (this.#running < this.#limits.inAll) {
      const next = this.#next()
      if (!next) return
      const [tenantId, tenant] = next
      // Behind the others.
      this.#tenants.delete(tenantId)
      this.#tenants.set(tenantId, tenant)
      this.#running += 1
      tenant.running += 1
      tenant.queue.shift()?.()
    }
  }

  #next(): [string, Waiting] | undefined {
    for (const entry of this.#tenants) {
      const [, { running, queue }] = entry
      if (queue.length > 0 && running < this.#limits.perTenant) return entry
    }
    return undefined
  }
}

/**
 * The database as skills get it. Host calls of one skill wait for one another (they write the same row), each with a
 * connection in its hand: without turns one skill would hold the whole pool, and whoever needs it next gets a 503.
 */
export function takingTurns(db: Db, turns = new Turns(DB_TURNS)): Db {
  return {
    ...db,
    tenant: (context, work, options) => turns.run(tenantOf(context), () => db.tenant(context, work, options))
  }
}

function tenantOf(context: TenantContext | string): string {
  return typeof context === 'string' ? context : context.tenantId
}
