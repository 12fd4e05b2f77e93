import type { Clock } from '#core/clock.ts'
import { type Db, type DbLog, silentLog, type TenantContext, type Tx } from '#core/db/types.ts'
import type { Secret } from '#core/secret.ts'
import { canonicalJson } from './canonical.ts'
import { ChainWalker, type Fault, type Link } from './chain.ts'
import { endText, type FileEnd, type FileStart } from './file.ts'
import { type AuditKey, auditKey } from './key.ts'
import { Sealer } from './sealer.ts'
import { findGone, findHead, findLoose, linksAfter } from './store/log.ts'

declare module 'fastify' {
  interface FastifyInstance {
    audit: AuditLog
  }
}

export interface AuditLogOptions {
  db: Db
  clock: Clock
  log?: DbLog
  /** base64url of 32 bytes: what the signing key is made of; the same on every host of one database. */
  keySeed: Secret
  sealEveryMs?: number
  /** Rows looked for in the chain by one statement. Default 20,000. */
  idsAtOnce?: number
}

/** A link that somebody knows from a former export or verify: the chain must still hold it. */
export type KnownLink = Pick<Link, 'seq' | 'hash'>

/** How a tenant's chain stands. */
export interface ChainReport {
  ok: boolean
  /** Number of the last sealed row; 0 where nothing is sealed. */
  sealedThrough: number
  head: (Pick<Link, 'seq' | 'hash' | 'at'> & { signature: string | null }) | null
  /** Sealed and unsealed rows. */
  entries: number
  unsealed: number
  faults: Fault[]
  /** The link that was asked about, and whether it stands in the chain with that hash. */
  known: (KnownLink & { stands: boolean }) | null
}

/** Runs `work` in a transaction of the tenant whose log it is. */
type AsTenant = <T>(work: (tx: Tx) => Promise<T>) => Promise<T>

/** Links read at once: what a walk holds in memory. */
const PAGE = 1000
/** Ids of rows looked for in the chain at once: some tenths of a second. */
const IDS = 20_000

/** The part of the kernel that seals, verifies and exports. `audit()` itself needs none of it. */
export class AuditLog {
  readonly key: AuditKey
  readonly sealer: Sealer
  readonly #clock: Clock
  readonly #db: Db
  readonly #ids: number

  constructor({ db, clock, log = silentLog, keySeed, sealEveryMs, idsAtOnce = IDS }: AuditLogOptions) {
    this.key = auditKey(keySeed)
    this.#clock = clock
    this.#db = db
    this.#ids = idsAtOnce
    this.sealer = new Sealer({
      db,
      clock,
      log,
      key: this.key,
      ...(sealEveryMs === undefined ? {} : { everyMs: sealEveryMs })
    })
  }

  start(): void {
    this.sealer.start()
  }

  async stop(): Promise<void> {
    await this.sealer.stop()
  }

  /**
   * Walks the whole chain of a tenant: every link, the signature of the head, and what no link holds.
   * @param since a link that stood in the chain before. Who may write the database can set a chain back to an earlier
   *   head, whose signature is good: only who knows a later link can tell
   */
  async verify(context: TenantContext, since?: KnownLink): Promise<ChainReport> {
    const { tenantId } = context
    const asTenant: AsTenant = (work) => this.#db.tenant(context, work)
    const known = this.sealer.remembered(tenantId)
    const walker = new ChainWalker(tenantId)
    let stands = false
    for await (const page of this.#pages(asTenant, tenantId)) {
      for (const link of page) {
        walker.add(link)
        if (link.seq === since?.seq) stands = link.hash === since.hash
      }
    }
    walker.finish(this.key)
    const head = walker.head
    const sealedThrough = head?.seq ?? 0
    if (known && sealedThrough < known.seq) {
      walker.note(sealedThrough, `the chain ends with row ${sealedThrough} and was sealed through row ${known.seq}`)
    }
    if (since && !stands) {
      walker.note(
        since.seq,
        sealedThrough < since.seq
          ? `the chain ends with row ${sealedThrough} and went on to row ${since.seq} before`
          : `row ${since.seq} is not the one that stood there before`
      )
    }
    // After the walk: what was sealed meanwhile is sealed here too.
    const { unsealed, stray } = await this.#loose(asTenant, tenantId)
    for (const id of await asTenant((tx) => findGone(tx, tenantId)))
      walker.note(null, `row ${id} vanished before it was sealed`)
    for (const id of stray) walker.note(null, `row ${id} was written by no transaction`)
    return {
      ok: walker.faults.length === 0,
      sealedThrough,
      head: head && { seq: head.seq, hash: head.hash, at: head.at, signature: head.signature ?? null },
      entries: walker.entries + unsealed,
      unsealed,
      faults: walker.faults,
      known: since ? { seq: since.seq, hash: since.hash, stands } : null
    }
  }

  /** The whole chain as lines of canonical JSON (file.ts), a page in memory at a time. */
  async *export(context: TenantContext): AsyncGenerator<string> {
    const { tenantId } = context
    const asTenant: AsTenant = (work) => this.#db.tenant(context, work)
    const { id, publicKey } = this.key
    const start: FileStart = { format: 'agentos-audit-1', tenantId, key: { id, publicKey }, at: this.#now() }
    yield `${canonicalJson(start)}\n`
    let last: Link | undefined
    let entries = 0
    for await (const page of this.#pages(asTenant, tenantId)) {
      last = page.at(-1)
      entries += page.filter((link) => link.entry).length
      yield page.map((link) => `${canonicalJson(link)}\n`).join('')
    }
    const { unsealed } = await this.#loose(asTenant, tenantId)
    const end: FileEnd = { tenantId, seq: last?.seq ?? 0, hash: last?.hash ?? '', entries, unsealed, at: this.#now() }
    yield `${canonicalJson({ end, signature: this.key.sign(endText(end)) })}\n`
  }

  // Up to the head of the beginning: it ends a batch, and a log that is written faster than it is read has an end.
  async *#pages(asTenant: AsTenant, tenantId: string): AsyncGenerator<Link[]> {
    const head = await asTenant((tx) => findHead(tx, tenantId))
    if (!head) return
    for (let after = 0; after < head.seq; ) {
      const links = await asTenant((tx) => linksAfter(tx, tenantId, after, PAGE))
      const wanted = links.filter((link) => link.seq <= head.seq)
      const last = wanted.at(-1)
      if (!last) return
      yield wanted
      after = last.seq
    }
  }

  async #loose(asTenant: AsTenant, tenantId: string): Promise<{ unsealed: number; stray: string[] }> {
    const stray: string[] = []
    let unsealed = 0
    for (let after: string | null = null, more = true; more; ) {
      const found = await asTenant((tx) => findLoose(tx, tenantId, after, this.#ids))
      unsealed += found.unsealed
      stray.push(...found.stray)
      after = found.next
      more = after !== null
    }
    return { unsealed, stray }
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString()
  }
}
