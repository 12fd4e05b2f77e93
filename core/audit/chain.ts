// The chain of one tenant's audit rows, without a database: what a link is, and whether links hold together.
// clients/cli has a verifier of its own; test/audit holds the two to each other.
import { createHash } from 'node:crypto'
import { canonicalJson } from './canonical.ts'
import type { AuditPublicKey } from './key.ts'

/** A row of the log as it is shown, exported and sealed: these bytes (canonical JSON) are what the hash is over. */
export interface ChainEntry {
  tenantId: string
  id: string
  /** ISO 8601 UTC with microseconds. */
  at: string
  action: string
  subject: string
  actor: { kind: string; id: string }
  requestId: string | null
  from: string | null
  /** `sha256:<hex>` */
  before: string | null
  after: string | null
  details: Record<string, unknown>
}

/** What the sealer found where a row should have been; it stays in the chain. */
export interface SealedFault {
  what: string
  entryId?: string
}

/** One link. `content`: the row, or a fault, or (only where somebody deleted it) nothing. */
export interface Link {
  seq: number
  at: string
  entry?: ChainEntry
  fault?: SealedFault
  /** Of the row that should stand here and is gone. */
  goneId?: string
  /** hex */
  hash: string
  /** base64; on the last link of each batch */
  signature?: string
}

export interface Fault {
  /** Of the link; null where it is about rows that no link names. */
  seq: number | null
  what: string
}

/** The hash before the first link. */
export const GENESIS = '0'.repeat(64)

/** hash = sha256(hash before || canonical JSON of seq, time and row), hex. */
export function linkHash(before: string, { seq, at, entry, fault }: Omit<Link, 'hash'>): string {
  const content = canonicalJson(fault === undefined ? { seq, at, entry } : { seq, at, fault })
  return createHash('sha256').update(Buffer.from(before, 'hex')).update(content).digest('hex')
}

/** What is signed of a link that ends a batch. It covers all links before it. */
export function headText(tenantId: string, { seq, hash, at }: Pick<Link, 'seq' | 'hash' | 'at'>): string {
  return `agentos-audit-head-v1\n${canonicalJson({ tenantId, seq, hash, at })}`
}

/** Faults that are kept; where there are more, the chain is lost anyway. */
const FAULTS_KEPT = 100

/** Walks links in the order of seq and notes what does not hold. */
export class ChainWalker {
  readonly faults: Fault[] = []
  /** Rows seen. */
  entries = 0
  /** The last link; null before the first. */
  head: Link | null = null
  readonly #tenantId: string
  #before: string | null
  #next: number

  /** @param from where the walk begins: behind this link. Default: at the first. */
  constructor(tenantId: string, from: { seq: number; hash: string } = { seq: 0, hash: GENESIS }) {
    this.#tenantId = tenantId
    this.#before = from.hash
    this.#next = from.seq + 1
  }

  add(link: Link): void {
    const { seq } = link
    if (seq < this.#next) {
      this.note(seq, `row ${seq} stands out of order, or twice`)
      return
    }
    if (seq > this.#next) {
      const last = seq - 1
      this.note(
        this.#next,
        last === this.#next ? `row ${last} is missing` : `rows ${this.#next} to ${last} are missing`
      )
      this.#before = null // whatever stood there: this link's own hash cannot be checked
    }
    if (link.entry) this.entries += 1
    if (!link.entry && !link.fault) this.note(seq, `row ${seq} (${link.goneId ?? 'without an id'}) was deleted`)
    else if (this.#before !== null && linkHash(this.#before, link) !== link.hash) {
      this.note(seq, `row ${seq}${nameOf(link)} is not what was sealed`)
    } else if (link.entry && link.entry.tenantId !== this.#tenantId) {
      this.note(seq, `row ${seq}${nameOf(link)} is another tenant's`)
    } else if (link.fault) this.note(seq, `row ${seq} is a fault that the sealer found: ${link.fault.what}`)
    this.#before = link.hash
    this.#next = seq + 1
    this.head = link
  }

  /** After the last link: whether the chain ends as it was signed. */
  finish(key: Pick<AuditPublicKey, 'verify'>): void {
    const { head } = this
    if (!head) return
    if (head.signature === undefined) this.note(head.seq, `the chain was cut: row ${head.seq} does not end a batch`)
    else if (!key.verify(headText(this.#tenantId, head), head.signature)) {
      this.note(head.seq, `the signature of the head (row ${head.seq}) is not this server's`)
    }
  }

  note(seq: number | null, what: string): void {
    if (this.faults.length < FAULTS_KEPT) this.faults.push({ seq, what })
  }
}

function nameOf({ entry }: Link): string {
  return entry ? ` (${entry.id}, ${entry.action})` : ''
}
