// Verifies an exported audit chain by its lines alone. A copy of the server's rules (core/audit/chain.ts and file.ts) on
// purpose: who checks a server does not run its code. test/audit holds the two to each other.
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'

export interface Fault {
  seq: number | null
  what: string
}

export interface FileReport {
  ok: boolean
  tenantId: string | null
  /** Of the key that signed; it vouches for the file only where it is known to be the server's. */
  keyId: string | null
  sealedThrough: number
  /** Of the last row; null in an empty chain. */
  hash: string | null
  entries: number
  unsealed: number
  faults: Fault[]
}

/** A row that is known from before: `seq` and its hash. */
export interface Known {
  seq: number
  hash: string
}

interface Link {
  seq: number
  at: string
  entry?: { id: string; action: string; tenantId: string }
  fault?: { what: string }
  goneId?: string
  hash: string
  signature?: string
}

interface End {
  tenantId: string
  seq: number
  hash: string
  unsealed: number
}

const FAULTS_KEPT = 100

/**
 * Walks the lines in bounded memory.
 * @param trusted the server's public key (SPKI, base64) or its id; without it the file's own key is taken and only named
 * @param since a row that the chain must still hold: a chain that was set back to an earlier head is whole in itself
 */
export async function verifyFile(lines: AsyncIterable<string>, trusted?: string, since?: Known): Promise<FileReport> {
  const faults: Fault[] = []
  const note = (seq: number | null, what: string) => {
    if (faults.length < FAULTS_KEPT) faults.push({ seq, what })
  }
  let key: Key | undefined
  let tenantId: string | null = null
  let before: string | null = '0'.repeat(64)
  let next = 1
  let head: Link | undefined
  let stands = false
  let end: End | undefined
  let entries = 0
  let number = 0

  const walk = (link: Link) => {
    const { seq, at, entry, fault, hash } = link
    const name = entry ? ` (${entry.id}, ${entry.action})` : ''
    if (seq < next) {
      note(seq, `row ${seq} stands out of order, or twice`)
      return
    }
    if (seq > next) {
      note(next, seq - 1 === next ? `row ${next} is missing` : `rows ${next} to ${seq - 1} are missing`)
      before = null
    }
    if (entry) entries += 1
    const content = fault === undefined ? { seq, at, entry } : { seq, at, fault }
    if (!entry && !fault) note(seq, `row ${seq} (${link.goneId ?? 'without an id'}) was deleted`)
    else if (before !== null && sha256(Buffer.from(before, 'hex'), canonical(content)) !== hash) {
      note(seq, `row ${seq}${name} is not what was sealed`)
    } else if (entry && entry.tenantId !== tenantId) note(seq, `row ${seq}${name} is another tenant's`)
    else if (fault) note(seq, `row ${seq} is a fault that the sealer found: ${fault.what}`)
    if (seq === since?.seq) stands = hash === since.hash
    before = hash
    next = seq + 1
    head = link
  }

  for await (const line of lines) {
    number += 1
    const value = parse(line)
    if (number === 1) {
      if (value?.format === 'agentos-audit-1') {
        tenantId = String(value.tenantId)
        key = keyOf(value.key)
      }
      if (!key) note(null, 'line 1 is not the beginning of an audit export')
      else if (trusted !== undefined && trusted !== key.id && trusted !== key.publicKey)
        note(null, `the file is signed by the key ${key.id}, which is not the one that you trust`)
    } else if (end) note(null, `line ${number} stands behind the end`)
    else if (value?.end) {
      end = value.end as End
      const text = `agentos-audit-export-v1\n${canonical(end)}`
      if (!key || !isSigned(key, text, String(value.signature))) note(null, "the file's signature does not fit it")
    } else if (isLink(value)) walk(value)
    else note(null, `line ${number} is not a row of an audit export`)
  }

  if (key && head) {
    const { seq, hash, at, signature } = head
    const text = `agentos-audit-head-v1\n${canonical({ tenantId, seq, hash, at })}`
    if (signature === undefined) note(seq, `the chain was cut: row ${seq} does not end a batch`)
    else if (!isSigned(key, text, signature)) note(seq, `the signature of the head (row ${seq}) is not this server's`)
  }
  const sealedThrough = head?.seq ?? 0
  if (!end) note(null, `the file is cut off after row ${sealedThrough}`)
  else if (end.seq !== sealedThrough || (head && end.hash !== head.hash) || end.tenantId !== tenantId)
    note(null, `the file should end with row ${end.seq} and ends with row ${sealedThrough}`)
  if (since && !stands) {
    note(
      since.seq,
      sealedThrough < since.seq
        ? `the chain ends with row ${sealedThrough} and went on to row ${since.seq} before`
        : `row ${since.seq} is not the one that stood there before`
    )
  }
  return {
    ok: faults.length === 0,
    tenantId,
    keyId: key?.id ?? null,
    sealedThrough,
    hash: (head as Link | undefined)?.hash ?? null,
    entries,
    unsealed: end?.unsealed ?? 0,
    faults
  }
}

interface Key {
  object: KeyObject
  id: string
  publicKey: string
}

function keyOf(given: unknown): Key | undefined {
  try {
    const { publicKey } = given as { publicKey: string }
    const object = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })
    if (object.asymmetricKeyType !== 'ed25519') return undefined
    const spki = object.export({ type: 'spki', format: 'der' })
    return { object, id: sha256(spki), publicKey: spki.toString('base64') }
  } catch {
    return undefined
  }
}

function isSigned(key: Key, text: string, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64')
  return bytes.length === 64 && verify(null, Buffer.from(text), key.object, bytes)
}

function sha256(...parts: (Uint8Array | string)[]): string {
  const sum = createHash('sha256')
  for (const part of parts) sum.update(part)
  return sum.digest('hex')
}

// Only the one spelling (RFC 8785): a doubled key would let a reader see another value than the one that was sealed.
function parse(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && canonical(value) === line ? { ...value } : null
  } catch {
    return null
  }
}

function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  members.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`
}

function isLink(value: object | null): value is Link & Record<string, unknown> {
  if (value === null || !('seq' in value) || !('hash' in value) || !('at' in value)) return false
  return Number.isSafeInteger(value.seq) && typeof value.hash === 'string' && /^[0-9a-f]{64}$/.test(value.hash)
}
