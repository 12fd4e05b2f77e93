import type { Clock, Timer } from '#core/clock.ts'
import type { Db, DbLog, Tx } from '#core/db/types.ts'
import { GENESIS, headText, type Link, linkHash, type SealedFault } from './chain.ts'
import type { AuditKey } from './key.ts'
import {
  type Counted,
  countedRows,
  findHeads,
  lockChains,
  makeChains,
  waitingTenants,
  writeLinks
} from './store/seal.ts'

export interface SealerOptions {
  db: Db
  clock: Clock
  log: DbLog
  key: AuditKey
  /** How long a row waits for its seal, at most. Default 300. */
  everyMs?: number
}

const TENANTS_PER_BATCH = 64
const TRANSACTIONS_PER_TENANT = 500
/** Heads that this process remembers; the bound keeps a million tenants from growing it. */
const HEADS_KEPT = 50_000
const TENANTS_PER_RUN = 1024
/** A row that waits longer for its seal because somebody holds the chain is worth a line, once in that time. */
const HELD_MS = 60_000
/** How long a tenant whose rows cannot be sealed is left alone: doubled from the first to the last. */
const BACK_OFF_MS = { first: 1000, last: 60_000 }

/**
 * Adds what transactions wrote to their tenants' chains. It looks every `everyMs` instead of being woken: what came in
 * between costs one transaction and one signature per tenant, however much it is. Any number of hosts may run one.
 */
export class Sealer {
  readonly #options: SealerOptions
  // What this process signed itself: a chain that ends before that was cut, though an old signature fits it.
  readonly #signed = new Map<string, { seq: number; hash: string }>()
  // Where the last run ended: who stands behind many others gets its turn.
  #after: string | null = null
  readonly #failed = new Map<string, { times: number; until: number }>()
  readonly #told = new Map<string, number>()
  #timer: Timer | undefined
  #running: Promise<void> | undefined

  constructor(options: SealerOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = this.#options.clock.every(this.#options.everyMs ?? 300, () => void this.run())
    void this.run()
  }

  /** Ends after one last look: what this process wrote is sealed when it goes down in order. */
  async stop(): Promise<void> {
    if (!this.#timer) return
    this.#timer.cancel()
    this.#timer = undefined
    await this.#running
    await this.run()
  }

  /** Seals what waits now. Never throws: what could not be sealed is looked for again. */
  run(): Promise<void> {
    this.#running ??= this.#sealAll().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** What this process last signed of a tenant's chain. */
  remembered(tenantId: string): { seq: number; hash: string } | undefined {
    return this.#signed.get(tenantId)
  }

  async #sealAll(): Promise<void> {
    const { db, log } = this.#options
    try {
      const found = await db.system(async (tx) => {
        const ids = await waitingTenants(tx, this.#after, TENANTS_PER_RUN)
        if (ids.length > 0) await makeChains(tx, ids)
        return ids
      })
      this.#after = found.length < TENANTS_PER_RUN ? null : (found.at(-1) ?? null)
      const now = this.#options.clock.monotonic()
      const waiting = found.filter((id) => (this.#failed.get(id)?.until ?? 0) <= now)
      for (let at = 0; at < waiting.length; at += TENANTS_PER_BATCH) {
        await this.#sealBatch(waiting.slice(at, at + TENANTS_PER_BATCH))
      }
    } catch (error) {
      log.warn({ err: error }, 'audit rows could not be sealed; the sealer tries again')
    }
  }

  // A tenant whose rows cannot be sealed must not keep the others waiting.
  async #sealBatch(tenantIds: readonly string[]): Promise<void> {
    const { db } = this.#options
    try {
      let more = true
      while (more) {
        const { signed, full } = await db.system((tx) => this.#seal(tx, tenantIds))
        if (this.#signed.size > HEADS_KEPT) this.#signed.clear()
        for (const [tenantId, head] of signed) this.#signed.set(tenantId, head)
        more = full
      }
      for (const tenantId of tenantIds) this.#failed.delete(tenantId)
    } catch (error) {
      if (tenantIds.length > 1) for (const tenantId of tenantIds) await this.#sealBatch([tenantId])
      else if (tenantIds[0] !== undefined) this.#backOff(tenantIds[0], error)
    }
  }

  #backOff(tenantId: string, error: unknown): void {
    const { clock, log } = this.#options
    const times = (this.#failed.get(tenantId)?.times ?? 0) + 1
    const waitMs = Math.min(BACK_OFF_MS.last, BACK_OFF_MS.first * 2 ** (times - 1))
    this.#failed.set(tenantId, { times, until: clock.monotonic() + waitMs })
    log.warn({ err: error, tenantId, attempts: times, pauseMs: waitMs }, 'audit rows of a tenant could not be sealed')
  }

  #tellHeld(tenantId: string, waitsMs: number): void {
    const { clock, log } = this.#options
    const now = clock.monotonic()
    if (waitsMs < HELD_MS || now - (this.#told.get(tenantId) ?? -HELD_MS) < HELD_MS) return
    if (this.#told.size > HEADS_KEPT) this.#told.clear()
    this.#told.set(tenantId, now)
    log.warn({ tenantId, ms: waitsMs }, 'audit rows of a tenant could not be sealed: another session holds its chain')
  }

  async #seal(tx: Tx, wanted: readonly string[]): Promise<{ signed: Map<string, Link>; full: boolean }> {
    const { locked, erased, held, at } = await lockChains(tx, wanted)
    for (const { tenantId, waitsMs } of held) this.#tellHeld(tenantId, waitsMs)
    const signed = new Map<string, Link>()
    if (locked.length === 0) return { signed, full: false }
    const [heads, rows] = await Promise.all([findHeads(tx, locked), countedRows(tx, locked, TRANSACTIONS_PER_TENANT)])
    for (const tenantId of erased) if (!heads.has(tenantId)) this.#signed.delete(tenantId)
    const links: { tenantId: string; link: Link }[] = []
    const counts = new Map<string, Set<string>>()
    for (const [tenantId, counted] of groupByTenant(rows)) {
      const made = this.#extend(tenantId, heads.get(tenantId), counted, at)
      links.push(...made.map((link) => ({ tenantId, link })))
      const last = made.at(-1)
      if (last) signed.set(tenantId, last)
      counts.set(tenantId, new Set(counted.map((row) => row.xid)))
    }
    const done = [...counts].flatMap(([tenantId, xids]) => [...xids].map((xid) => ({ tenantId, xid })))
    if (done.length > 0) await writeLinks(tx, links, done)
    return { signed, full: [...counts.values()].some((xids) => xids.size >= TRANSACTIONS_PER_TENANT) }
  }

  #extend(tenantId: string, head: Link | undefined, rows: readonly Counted[], at: string): Link[] {
    const { key } = this.#options
    const links: Link[] = []
    let last: Pick<Link, 'seq' | 'hash'> = head ?? { seq: 0, hash: GENESIS }
    const add = (content: Pick<Link, 'entry'> | Pick<Link, 'fault'>) => {
      const open = { seq: last.seq + 1, at, ...content }
      const link: Link = { ...open, hash: linkHash(last.hash, open) }
      links.push(link)
      last = link
    }
    const fault = this.#headFault(tenantId, head)
    // Signed over without a word it would be ours again: the fault goes into the chain, and the log goes on.
    if (fault) add({ fault: this.#tell(tenantId, fault) })
    const seen = new Set<string>()
    for (const { id, entry, sealed } of rows) {
      if (sealed || seen.has(id)) continue
      seen.add(id)
      if (entry) add({ entry })
      else add({ fault: this.#tell(tenantId, { what: `row ${id} vanished before it was sealed`, entryId: id }) })
    }
    const end = links.at(-1)
    if (end) end.signature = key.sign(headText(tenantId, end))
    return links
  }

  #headFault(tenantId: string, head: Link | undefined): SealedFault | null {
    const known = this.#signed.get(tenantId)
    if (known && (head?.seq ?? 0) < known.seq) {
      return { what: `the chain ended with row ${head?.seq ?? 0} and was sealed through row ${known.seq} before` }
    }
    if (!head) return null
    const ours = head.signature !== undefined && this.#options.key.verify(headText(tenantId, head), head.signature)
    return ours ? null : { what: `the head before, row ${head.seq}, did not bear this server's signature` }
  }

  #tell(tenantId: string, fault: SealedFault): SealedFault {
    this.#options.log.error({ tenantId, fault: fault.what }, 'the audit log of a tenant was tampered with')
    return fault
  }
}

function groupByTenant(rows: readonly Counted[]): Map<string, Counted[]> {
  const groups = new Map<string, Counted[]>()
  for (const row of rows) {
    const group = groups.get(row.tenantId)
    if (group) group.push(row)
    else groups.set(row.tenantId, [row])
  }
  return groups
}
