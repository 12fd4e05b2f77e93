// An exported chain: one canonical JSON document a line. The first says whose, each next is a link, the last is signed.
import { canonicalJson } from './canonical.ts'
import { ChainWalker, type Fault, type Link } from './chain.ts'
import { type AuditPublicKey, auditPublicKey } from './key.ts'

export interface FileStart {
  format: 'agentos-audit-1'
  tenantId: string
  key: { id: string; publicKey: string }
  at: string
}

/** `hash` of the last link; `unsealed`: rows that were written and not sealed yet, so not in the file. */
export interface FileEnd {
  tenantId: string
  seq: number
  hash: string
  entries: number
  unsealed: number
  at: string
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

/** What is signed of a whole file: without it a file could be cut at an earlier head. */
export function endText(end: FileEnd): string {
  return `agentos-audit-export-v1\n${canonicalJson(end)}`
}

/**
 * Verifies an export by its lines alone, in bounded memory.
 * @param trusted the server's key, or its id; without it the file's own key is taken and only named
 */
export async function verifyFile(lines: AsyncIterable<string>, trusted?: string): Promise<FileReport> {
  let start: FileStart | undefined
  let key: AuditPublicKey | undefined
  let walker = new ChainWalker('')
  let end: FileEnd | undefined
  let number = 0
  for await (const line of lines) {
    number += 1
    const value = parse(line)
    if (number === 1) {
      if (value?.format === 'agentos-audit-1') {
        start = value as unknown as FileStart
        key = keyOf(start)
        walker = new ChainWalker(start.tenantId)
      }
      if (!key) walker.note(null, 'line 1 is not the beginning of an audit export')
      else if (trusted !== undefined && trusted !== key.id && trusted !== key.publicKey)
        walker.note(null, `the file is signed by the key ${key.id}, which is not the one that you trust`)
    } else if (end) walker.note(null, `line ${number} stands behind the end`)
    else if (value?.end) {
      end = value.end as FileEnd
      if (!key?.verify(endText(end), String(value.signature))) walker.note(null, "the file's signature does not fit it")
    } else if (isLink(value)) walker.add(value)
    else walker.note(null, `line ${number} is not a row of an audit export`)
  }
  if (key) walker.finish(key)
  const { head, entries, faults } = walker
  const sealedThrough = head?.seq ?? 0
  if (!end) walker.note(null, `the file is cut off after row ${sealedThrough}`)
  else if (end.seq !== sealedThrough || (head && end.hash !== head.hash) || end.tenantId !== start?.tenantId)
    walker.note(null, `the file should end with row ${end.seq} and ends with row ${sealedThrough}`)
  return {
    ok: faults.length === 0,
    tenantId: start?.tenantId ?? null,
    keyId: key?.id ?? null,
    sealedThrough,
    hash: head?.hash ?? null,
    entries,
    unsealed: end?.unsealed ?? 0,
    faults
  }
}

// Only the one spelling: a doubled key would let a reader see another value than the one that was sealed.
function parse(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null || canonicalJson(value) !== line) return null
    return value as Record<string, unknown>
  } catch {
    return null
  }
}

function keyOf(start: FileStart): AuditPublicKey | undefined {
  try {
    return auditPublicKey(start.key.publicKey)
  } catch {
    return undefined
  }
}

function isLink(value: object | null): value is Link & Record<string, unknown> {
  if (value === null || !('seq' in value) || !('hash' in value) || !('at' in value)) return false
  return Number.isSafeInteger(value.seq) && typeof value.hash === 'string' && /^[0-9a-f]{64}$/.test(value.hash)
}
