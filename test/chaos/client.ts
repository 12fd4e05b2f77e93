import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { systemClock } from '#core/clock.ts'
import type { Random } from './random.ts'
import type { Tenant } from './world.ts'

// biome-ignore lint/suspicious/noExplicitAny: answers of every shape
export type Body = any

export interface Reply {
  readonly status: number
  readonly body: Body
  readonly replayed: boolean
}

/** What a client was told, written down and synced before it goes on: the checker holds the server to it. */
export interface Acknowledged {
  readonly op: 'create' | 'pause' | 'resume' | 'cancel' | 'run'
  /** Idempotency-Key, and name of the session. */
  readonly key: string
  readonly tenantId: string
  readonly sessionId: string
  readonly status: number
  readonly state: string
}

/** The history file of all clients of a run. */
export class History {
  readonly entries: Acknowledged[] = []
  private readonly file: number

  constructor(path: string) {
    this.file = openSync(path, 'a')
  }

  add(entry: Acknowledged): void {
    writeSync(this.file, `${JSON.stringify(entry)}\n`)
    fsyncSync(this.file)
    this.entries.push(entry)
  }

  close(): void {
    closeSync(this.file)
  }
}

const REQUEST_MS = 10_000

/**
 * A client as the documentation asks for one: it repeats what got no answer, and 5xx, 429 and IDEMPOTENCY_IN_FLIGHT
 * after a moment, at whichever host is up.
 */
export class Client {
  /** Answers that were no answers, by reason: what a client of such a run has to live with. */
  readonly repeated: Record<string, number> = {}
  requests = 0
  private readonly address: () => string | null
  private readonly random: Random

  constructor(address: () => string | null, random: Random) {
    this.address = address
    this.random = random
  }

  async ask(tenant: Tenant, method: string, path: string, body?: object, key?: string): Promise<Reply> {
    for (;;) {
      this.requests += 1
      const url = this.address()
      const reply = url === null ? null : await once(url, tenant, method, path, body, key)
      const again =
        !reply || reply.status >= 500 || reply.status === 429 || reply.body?.code === 'IDEMPOTENCY_IN_FLIGHT'
      if (!again) return reply
      const why = reply ? `${reply.status} ${reply.body?.code ?? ''}` : url === null ? 'no host up' : 'no answer'
      this.repeated[why] = (this.repeated[why] ?? 0) + 1
      await systemClock.sleep(this.random.between(50, 300))
    }
  }
}

/** @returns null where no whole answer came */
export async function once(
  url: string,
  tenant: Tenant,
  method: string,
  path: string,
  body?: object,
  key?: string
): Promise<Reply | null> {
  try {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${tenant.key}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...(key ? { 'idempotency-key': key } : {})
      },
      signal: AbortSignal.timeout(REQUEST_MS),
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    const text = await answer.text()
    return {
      status: answer.status,
      body: text === '' ? null : (JSON.parse(text) as Body),
      replayed: answer.headers.get('idempotency-replayed') === 'true'
    }
  } catch {
    return null
  }
}
