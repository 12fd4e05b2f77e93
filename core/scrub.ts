// What may not be printed, found in text: every living secret in its usual encodings, and whatever looks like a key.
// One pass over the text, however many secrets live: a rolling hash of eight characters asks a bit table, and only where
// that says yes the text is compared (Rabin-Karp). The tables hold hashes, never the secrets themselves.
import { hash } from 'node:crypto'
import { formsOf } from './secret-forms.ts'

const MASK = '[secret]'
/** Characters of the rolling window; a shorter secret is not looked for: it would blank ordinary words ("dev", "1"). */
const WINDOW = 8
const BASE = 0x01000193
/** BASE ** (WINDOW - 1): what the character that leaves the window counts. */
const LEAVING = Array(WINDOW - 1)
  .fill(BASE)
  .reduce(Math.imul, 1)
/** Secrets that nobody holds any more and that are still looked for: an error on its way to the log may name them. */
const AFTERLIFE = 1024

interface Form {
  /** Hash of its last eight characters: beginnings are alike ("postgres://", "eyJ"). */
  anchor: number
  length: number
  digest: string
}

interface Entry {
  holders: number
  forms: Form[]
}

const entries = new Map<string, Entry>()
// Anchor -> length -> digest -> how many forms. Lengths are few, so that a hit costs few digests.
const anchors = new Map<number, Map<number, Map<string, number>>>()
/** Names of entries without a holder, oldest first. */
const dead = new Set<string>()
let bits = new Uint32Array(2 ** 11)

/** Adds a holder of this text. @returns the name by which `unguard` takes the holder back; it does not tell the text */
export function guard(text: string): string {
  const name = digestOf(text)
  const entry = entries.get(name) ?? { holders: 0, forms: [...formsOf(text)].flatMap(formOf) }
  if (!entries.has(name)) {
    entries.set(name, entry)
    for (const form of entry.forms) insert(form)
  }
  entry.holders++
  dead.delete(name)
  return name
}

export function unguard(name: string): void {
  const entry = entries.get(name)
  if (!entry || --entry.holders > 0) return
  dead.add(name)
  const [oldest] = dead
  if (dead.size <= AFTERLIFE || oldest === undefined) return
  dead.delete(oldest)
  for (const form of entries.get(oldest)?.forms ?? []) remove(form)
  entries.delete(oldest)
}

/** The text without living secrets (plain, JSON-escaped, URL-encoded, base64, hex) and without known shapes of keys. */
export function scrub(text: string, said?: string): string {
  let clean = withoutSecrets(text, said)
  for (const { hint, pattern } of patterns) if (clean.includes(hint)) clean = clean.replace(pattern, MASK)
  return clean
}

/**
 * The same for one JSON document (a line of the log, the body of an error), which stays one: what is found is masked value
 * by value, in numbers and in the keys of what lies deeper too. A secret's text is its tenant's choice, and `"level":` must not blank the lines of all others.
 * @param said for an answer, what its reader sent: that stays as it is, living secret or not. Masked, it would tell whoever
 *   guesses that some tenant has this secret
 */
export function scrubJson(text: string, said?: () => string): string {
  if (scrub(text) === text) return text
  const known = said?.()
  const clean = (inner: string) => scrub(inner, known)
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return JSON.stringify(scrubValue(value, clean))
  return JSON.stringify(
    Object.fromEntries(
      // Field names at the root are ours.
      Object.entries(value).map(([key, inner]) => [
        key,
        typeof inner === 'string' && ownWords.has(key) ? inner : scrubValue(inner, clean)
      ])
    )
  )
}

/** What our code chose, at the root of a line or an answer. Deeper, fields of these names may hold anything. */
const ownWords = new Set(['level', 'time', 'type', 'title', 'code'])

function scrubValue(value: unknown, clean: (text: string) => string): unknown {
  if (typeof value === 'string') return clean(value)
  if (typeof value === 'number') return clean(String(value)) === String(value) ? value : MASK
  if (Array.isArray(value)) return value.map((inner) => scrubValue(inner, clean))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [clean(key), scrubValue(inner, clean)]))
}

/** Whether a key's shape is in the text, living or not. */
export function looksLikeKey(text: string): boolean {
  return patterns.some(({ hint, pattern }) => text.includes(hint) && text.search(pattern) >= 0)
}

// The hint is looked for first: it is nearly never there, and many times cheaper than its pattern.
const patterns: { hint: string; pattern: RegExp }[] = [
  { hint: '_live_', pattern: /\b[a-z]{2}_live_[\w-]{20,}/g }, // ours: API keys, refresh tokens, WebSocket tickets
  { hint: 'inv_', pattern: /\binv_[\w-]{40,}/g }, // ours: invitations
  { hint: 'whsec_', pattern: /\bwhsec_[0-9A-Za-z+/=_-]{8,}/g }, // Standard Webhooks
  { hint: 'eyJ', pattern: /(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g }, // JWT
  { hint: 'sk-', pattern: /\bsk-[\w-]{16,}/g }, // model providers
  { hint: 'IA', pattern: /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g }, // AWS
  { hint: '-----BEGIN', pattern: /-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/gs },
  { hint: '://', pattern: /(?<=\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*:)[^\s@/"]+(?=@)/g } // the password of a URL
]

/** Every text and number in a JSON value, keys too: what somebody said by it. */
export function textsOf(value: unknown): string {
  const texts: string[] = []
  JSON.stringify(value, (key, inner) => {
    texts.push(key)
    if (typeof inner === 'string' || typeof inner === 'number') texts.push(String(inner))
    return inner
  })
  return texts.join('\n')
}

function withoutSecrets(text: string, said?: string): string {
  const all = entries.size === 0 || text.length < WINDOW ? [] : findSecrets(text)
  const found = said === undefined ? all : all.filter(({ start, end }) => !said.includes(text.slice(start, end)))
  let clean = ''
  let at = 0
  for (const { start, end } of found) {
    clean += text.slice(at, start) + MASK
    at = end
  }
  return at === 0 ? text : clean + text.slice(at)
}

interface Span {
  start: number
  end: number
}

/** Where secrets stand, in order; those that overlap are one. */
function findSecrets(text: string): Span[] {
  const found: Span[] = []
  const { length } = text
  const table = bits
  const mask = table.length * 32 - 1
  let rolling = hashOf(text, 0)
  for (let end = WINDOW; ; end++) {
    const bit = rolling & mask
    if (((table[bit >>> 5] as number) >>> (bit & 31)) & 1) {
      let start = end - longestEnding(text, end, rolling)
      for (let last = found.at(-1); start < end && last && last.end > start; last = found.at(-1)) {
        start = Math.min(start, last.start)
        found.pop()
      }
      if (start < end) found.push({ start, end })
    }
    if (end === length) return found
    const without = rolling - Math.imul(text.charCodeAt(end - WINDOW), LEAVING)
    rolling = (Math.imul(without, BASE) + text.charCodeAt(end)) | 0
  }
}

function longestEnding(text: string, end: number, anchor: number): number {
  let longest = 0
  for (const [length, digests] of anchors.get(anchor) ?? []) {
    if (length > longest && length <= end && digests.has(digestOf(text.slice(end - length, end)))) longest = length
  }
  return longest
}

function hashOf(text: string, start: number): number {
  let sum = 0
  for (let i = start; i < start + WINDOW; i++) sum = (Math.imul(sum, BASE) + text.charCodeAt(i)) | 0
  return sum
}

function digestOf(text: string): string {
  return hash('sha256', text, 'base64')
}

function formOf(text: string): Form[] {
  const { length } = text
  return length < WINDOW ? [] : [{ anchor: hashOf(text, length - WINDOW), length, digest: digestOf(text) }]
}

function insert({ anchor, length, digest }: Form): void {
  const lengths = getOrMake(anchors, anchor, () => new Map<number, Map<string, number>>())
  const digests = getOrMake(lengths, length, () => new Map<string, number>())
  digests.set(digest, (digests.get(digest) ?? 0) + 1)
  // One bit in 64 at most is set, so that ordinary text asks the maps a few times a line.
  if (anchors.size * 64 > bits.length * 32) fillBits(bits.length * 4)
  else setBit(anchor)
}

function remove({ anchor, length, digest }: Form): void {
  const lengths = anchors.get(anchor)
  const digests = lengths?.get(length)
  if (!lengths || !digests) return
  const left = (digests.get(digest) ?? 1) - 1
  if (left > 0) digests.set(digest, left)
  else digests.delete(digest)
  if (digests.size === 0) lengths.delete(length)
  // Its bit stays until the table grows: others may share it, and it costs a look only.
  if (lengths.size === 0) anchors.delete(anchor)
}

function fillBits(words: number): void {
  bits = new Uint32Array(words)
  for (const anchor of anchors.keys()) setBit(anchor)
}

function setBit(anchor: number): void {
  const bit = anchor & (bits.length * 32 - 1)
  bits[bit >>> 5] = (bits[bit >>> 5] ?? 0) | (1 << (bit & 31))
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
