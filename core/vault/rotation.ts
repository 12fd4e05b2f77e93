import { auditAs } from '#core/audit/audit.ts'
import type { Clock } from '#core/clock.ts'
import type { Actor, Db } from '#core/db/types.ts'
import { AppError, errorMessage } from '#core/errors.ts'
import type { Log } from '#core/log.ts'
import { KekMissing, KekWrong } from './errors.ts'
import * as keyStore from './key-store.ts'
import type { KeyWrapper } from './keys.ts'
import type { Rotation } from './schema.ts'

export interface RotationOptions {
  db: Db
  clock: Clock
  log: Log
  wrapper: KeyWrapper
  /** Data keys of one transaction. */
  batch?: number
}

export interface Outcome {
  rewrapped: number
  /** Data keys that did not unwrap: damaged, or of a version that is not configured. They are left as they are. */
  failed: number
}

const SYSTEM: Actor = { kind: 'system', id: 'vault' }
// A data key that is in use by a transaction is come back for.
const RETRY_MS = 250
const PAGE = 100

/**
 * Moves the data keys to the current key encryption key. Only the wrapping changes: secrets stay as they are and are
 * read and written meanwhile. How far it is stands in the rows alone, so any host may go on at any time, several at
 * once. Versions only rise: two hosts with different current versions do not undo each other's work.
 */
export class KekRotation {
  readonly #options: RotationOptions
  readonly #stop = new AbortController()
  #running: Promise<Outcome> | null = null

  constructor(options: RotationOptions) {
    this.#options = options
  }

  /**
   * Re-wraps every data key of an older version, in batches of one transaction each; who calls while it runs here
   * waits for the same run.
   * @param actor in whose name the tenants' audit rows are written
   */
  async run(actor: Actor = SYSTEM): Promise<Outcome> {
    this.#running ??= this.#passes(actor).finally(() => {
      this.#running = null
    })
    return await this.#running
  }

  /** The same without waiting for it; a failure is logged, and the hourly sweep tries again. */
  begin(actor?: Actor): void {
    this.run(actor).catch((error) => {
      if (!this.#stop.signal.aborted) this.#options.log.error({ err: error }, 'the rotation of the KEK stopped')
    })
  }

  async status(): Promise<Rotation> {
    const { db, wrapper } = this.#options
    const counts = await db.system((tx) => keyStore.countByVersion(tx))
    const remaining = counts.filter(({ version }) => version < wrapper.current).reduce((n, c) => n + c.dataKeys, 0)
    const used = new Set(counts.map(({ version }) => version))
    const unused = [...wrapper.versions].filter((version) => !used.has(version))
    const versions = [...counts, ...unused.map((version) => ({ version, dataKeys: 0 }))]
      .map((count) => ({ ...count, configured: wrapper.versions.has(count.version) }))
      .sort((a, b) => b.version - a.version)
    return { current: wrapper.current, remaining, versions }
  }

  /**
   * Refuses a server that could not read its tenants' secrets, then begins what a new current version asks for.
   * @throws KekMissing, KekWrong
   */
  async start(): Promise<void> {
    const { remaining, versions } = await this.status()
    const missing = versions.filter(({ configured }) => !configured).map(({ version }) => version)
    if (missing.length > 0) throw new KekMissing(missing)
    for (const { version, dataKeys } of versions) if (dataKeys > 0) await this.#tryVersion(version)
    if (remaining > 0) this.begin()
  }

  /** Ends a run after its batch. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running?.catch(() => {})
  }

  // Until one opens, which is the first as a rule: damaged rows are no wrong key, they are doctor's (vault.data_keys).
  async #tryVersion(version: number): Promise<void> {
    let last: unknown
    for (let after: keyStore.Place | null = null; ; ) {
      const place: keyStore.Place | null = after
      const rows: keyStore.StoredKey[] = await this.#options.db.system((tx) => keyStore.page(tx, place, PAGE, version))
      for (const { tenantId, wrapped } of rows) {
        try {
          const key = await this.#options.wrapper.unwrap(tenantId, wrapped, version)
          key.fill(0)
          return
        } catch (error) {
          if (error instanceof AppError) throw error
          last = error
        }
      }
      after = rows.at(-1) ?? null
      if (rows.length < PAGE) break
    }
    if (last !== undefined) throw new KekWrong(version, last)
  }

  async #passes(actor: Actor): Promise<Outcome> {
    const { db, clock, wrapper, log } = this.#options
    const failed = new Set<string>()
    let rewrapped = 0
    for (;;) {
      rewrapped += await this.#pass(actor, failed)
      const left = await db.system((tx) => keyStore.countOlder(tx, wrapper.current))
      if (left <= failed.size) break
      await clock.sleep(RETRY_MS, this.#stop.signal)
    }
    if (rewrapped > 0 || failed.size > 0) {
      log.info({ rewrapped, failed: failed.size, version: wrapper.current }, 'data keys moved to the current KEK')
    }
    return { rewrapped, failed: failed.size }
  }

  // From the first tenant to the last, past what others hold just now.
  async #pass(actor: Actor, failed: Set<string>): Promise<number> {
    const { db, wrapper, batch = 100 } = this.#options
    let rewrapped = 0
    for (let after: keyStore.Place | null = null; ; ) {
      this.#stop.signal.throwIfAborted()
      const place: keyStore.Place | null = after
      const rows: keyStore.StoredKey[] = await db.system(async (tx) => {
        const found = await keyStore.lockOlder(tx, wrapper.current, place, batch)
        for (const row of found) {
          const wrapped = await this.#rewrap(row, failed)
          if (!wrapped) continue
          await keyStore.rewrap(tx, row, wrapped, wrapper.current)
          await auditAs(tx, row.tenantId, actor, {
            action: 'data_key.rewrapped',
            subject: `data_key:${row.generation}`,
            before: { kekVersion: row.kekVersion },
            after: { kekVersion: wrapper.current },
            details: { from: row.kekVersion, to: wrapper.current }
          })
        }
        return found
      })
      rewrapped += rows.filter((row) => !failed.has(nameOf(row))).length
      if (rows.length < batch) return rewrapped
      after = rows.at(-1) ?? null
    }
  }

  async #rewrap(row: keyStore.StoredKey, failed: Set<string>): Promise<Uint8Array | null> {
    const { wrapper, log } = this.#options
    let key: Buffer
    try {
      key = await wrapper.unwrap(row.tenantId, row.wrapped, row.kekVersion)
    } catch (error) {
      const { tenantId, kekVersion } = row
      log.error({ tenantId, kekVersion, reason: errorMessage(error) }, 'a data key does not unwrap and stays as it is')
      failed.add(nameOf(row))
      return null
    }
    try {
      return await wrapper.wrap(row.tenantId, key)
    } finally {
      key.fill(0)
    }
  }
}

function nameOf({ tenantId, generation }: keyStore.StoredKey): string {
  return `${tenantId}/${generation}`
}
