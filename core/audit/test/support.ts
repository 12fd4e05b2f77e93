import { canonicalJson } from '#core/audit/canonical.ts'
import { type ChainEntry, GENESIS, headText, type Link, linkHash } from '#core/audit/chain.ts'
import { endText, type FileEnd } from '#core/audit/file.ts'
import { type AuditKey, auditKey } from '#core/audit/key.ts'
import { Secret } from '#core/secret.ts'

export const tenantId = '01900000-0000-7000-8000-00000000000a'
const at = '2026-11-22T00:00:00.000000Z'

export function keyOf(byte: number): AuditKey {
  return auditKey(new Secret(Buffer.alloc(32, byte).toString('base64url')))
}

export function entry(n: number): ChainEntry {
  const id = `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`
  const digest = `sha256:${'0'.repeat(64)}`
  const [actor, details] = [
    { kind: 'key', id: 'k' },
    { n, text: 'ü"\\' }
  ]
  return {
    tenantId,
    id,
    at,
    action: 'note.written',
    subject: `note:${n}`,
    actor,
    requestId: `r${n}`,
    from: null,
    before: null,
    after: digest,
    details
  }
}

/** A chain of `size` rows in batches of two, as the server makes it. */
export function chainOf(size: number, key: AuditKey): Link[] {
  const links: Link[] = []
  for (let seq = 1; seq <= size; seq++) {
    const open = { seq, at, entry: entry(seq) }
    const link: Link = { ...open, hash: linkHash(links.at(-1)?.hash ?? GENESIS, open) }
    if (seq % 2 === 0 || seq === size) link.signature = key.sign(headText(tenantId, link))
    links.push(link)
  }
  return links
}

/** The lines of an export of it. */
export function fileOf(links: readonly Link[], key: AuditKey): string[] {
  const { id, publicKey } = key
  const last = links.at(-1)
  const end: FileEnd = { tenantId, seq: last?.seq ?? 0, hash: last?.hash ?? '', entries: links.length, unsealed: 0, at }
  return [
    { format: 'agentos-audit-1', tenantId, key: { id, publicKey }, at },
    ...links,
    { end, signature: key.sign(endText(end)) }
  ].map(canonicalJson)
}

/** Every way in which a file of five rows can be tampered with: name, lines, what the verifier must say. */
export function tampered(key: AuditKey, other: AuditKey): [name: string, lines: string[], says: RegExp][] {
  const lines = fileOf(chainOf(5, key), key)
  const [first = '', one = '', two = '', three = '', four = '', five = '', end = ''] = lines
  const changed = three.replace('note:3', 'note:9')
  const forged = fileOf(chainOf(5, other), other)
  const insider = fileOf(
    chainOf(5, key).map((link) =>
      link.seq === 3 && link.entry ? { ...link, entry: { ...link.entry, subject: 'x' } } : link
    ),
    key
  )
  const renumbered = [four.replace('"seq":4', '"seq":3'), five.replace('"seq":5', '"seq":4')]
  return [
    ['a changed row', [first, one, two, changed, four, five, end], /row 3 .* is not what was sealed/],
    ['a changed row in an export signed anew', insider, /row 3 .* is not what was sealed/],
    [
      'a changed time of sealing',
      [
        first,
        one.replace(`"at":"${at}","entry"`, `"at":"2020-11-22T00:00:00.000000Z","entry"`),
        two,
        three,
        four,
        five,
        end
      ],
      /row 1 .* is not what was sealed/
    ],
    ['a deleted row', [first, one, two, four, five, end], /row 3 is missing/],
    ['deleted rows, the rest renumbered', [first, one, two, ...renumbered, end], /row 3 .* is not what was sealed/],
    ['two rows in the wrong order', [first, one, three, two, four, five, end], /row 2 is missing/],
    [
      'two rows that changed places and numbers',
      [first, one, three.replace('"seq":3', '"seq":2'), two.replace('"seq":2', '"seq":3'), four, five, end],
      /row 2 .* is not what was sealed/
    ],
    [
      'an inserted row',
      [first, one, two, three, three.replace('"seq":3', '"seq":4'), four, five, end],
      /row 4 .* is not what was sealed/
    ],
    ['a row twice', [first, one, two, two, three, four, five, end], /row 2 stands out of order, or twice/],
    ['the first row deleted', [first, two, three, four, five, end], /row 1 is missing/],
    ['no end', lines.slice(0, -1), /cut off after row 5/],
    ['cut at an earlier head', [first, one, two, end], /should end with row 5 and ends with row 2/],
    ['cut inside a batch', [first, one, end], /the chain was cut: row 1 does not end a batch/],
    ['an end made up', [first, one, two, end.replace('"seq":5', '"seq":2')], /signature does not fit/],
    ['rows behind the end', [...lines, five], /line 8 stands behind the end/],
    ['no beginning', lines.slice(1), /line 1 is not the beginning/],
    [
      'a head signed by somebody else',
      [first, one, two, three, four, five.replace(/"signature":"[^"]*"/, `"signature":"${other.sign('x')}"`), end],
      /signature of the head \(row 5\) is not/
    ],
    [
      'no signature at all',
      [first, one, two, three, four, five.replace(/,"signature":"[^"]*"/, ''), end],
      /does not end a batch/
    ],
    [
      'a key said twice',
      [first, one.replace('"subject":"note:1"', '"subject":"x","subject":"note:1"'), two, three, four, five, end],
      /line 2 is not a row/
    ],
    ['what is no JSON', [first, 'garbage', one, two, three, four, five, end], /line 2 is not a row/],
    ['an empty file', [], /cut off after row 0/],
    ['a whole chain of another key', forged, /which is not the one that you trust/]
  ]
}

export async function* linesOf(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines
}
