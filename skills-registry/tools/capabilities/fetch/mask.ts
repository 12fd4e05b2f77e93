import type { Secret } from '#core/secret.ts'
import { formsOf } from '#core/secret-forms.ts'

export interface Mask {
  bytes(bytes: Buffer): Buffer
  text(text: string): string
  isIn(text: string): boolean
}

const MASK = '[secret]'
/** A part of a secret (the password of a URL) that is shorter is not looked for: it would blank ordinary text. */
const SHORTEST = 4
/** Characters at a form's end by which it is found: beginnings are alike ("Bearer ", "eyJhbGciOi"), and comparing whole forms at each place would let a chosen secret and answer cost the square of their length. */
const TAIL = 24

/**
 * Takes secrets out of what a host answered, in every way in which text is usually written, in upper or lower case. It
 * looks for the secrets of this request only: core/scrub.ts knows those of all tenants, and a skill could find out by it
 * which ones live.
 */
export function createMask(secrets: readonly Secret[]): Mask {
  const forms = new Set(secrets.flatMap((secret) => writtenForms(secret.reveal())))
  if (forms.size === 0) return { bytes: (bytes) => bytes, text: (text) => text, isIn: () => false }
  const byTail = new Map<string, string[]>()
  for (const form of forms) {
    const tail = form.slice(-TAIL)
    byTail.set(tail, [...(byTail.get(tail) ?? []), form])
  }
  // Longest first: what ends in another form goes whole.
  const tails = [...byTail.keys()].sort((a, b) => b.length - a.length)
  const pattern = new RegExp(tails.map((tail) => RegExp.escape(tail)).join('|'), 'g')

  /** Of latin1, so that a character is a byte. */
  const latin1 = (text: string): string => {
    const lower = text.toLowerCase()
    let clean = ''
    let at = 0
    for (const { 0: tail, index } of lower.matchAll(pattern)) {
      const starts = byTail.get(tail)?.map((form) => startOf(form, lower, index, at)) ?? []
      clean += text.slice(at, Math.min(index, ...starts)) + MASK
      at = index + tail.length
    }
    return at === 0 ? text : clean + text.slice(at)
  }
  return {
    bytes: (bytes) => {
      const text = bytes.toString('latin1')
      const clean = latin1(text)
      return clean === text ? bytes : Buffer.from(clean, 'latin1')
    },
    text: (text) => Buffer.from(latin1(Buffer.from(text).toString('latin1')), 'latin1').toString(),
    isIn: (text) => Buffer.from(text).toString('latin1').toLowerCase().search(pattern) >= 0
  }
}

/** How far before its tail this form stands in the text, whole or in part. */
function startOf(form: string, text: string, tailAt: number, floor: number): number {
  let start = tailAt
  for (let i = form.length - TAIL - 1; i >= 0 && start > floor && form[i] === text[start - 1]; i--) start--
  return start
}

function writtenForms(secret: string): string[] {
  const forms = [...formsOf(secret), ...everyCharacterOf(secret), ...htmlOf(secret)]
  return forms
    .filter((form) => form.length >= SHORTEST)
    .flatMap((form) => {
      const wide = Buffer.from(form, 'utf16le')
      const little = wide.toString('latin1')
      return [Buffer.from(form).toString('latin1'), little, wide.swap16().toString('latin1')]
    })
    .map((form) => form.toLowerCase())
}

/** Escapes of text that needs none, which some writers use all the same. */
function everyCharacterOf(secret: string): string[] {
  const bytes = Buffer.from(secret).toString('hex').match(/../g) ?? []
  const units = Buffer.from(secret, 'utf16le').swap16().toString('hex').match(/.{4}/g) ?? []
  const each = (sign: string, codes: readonly string[]) => codes.map((code) => sign + code).join('')
  return [each('%', bytes), each('\\x', bytes), bytes.join(' '), bytes.join(':'), each('\\u', units)]
}

function htmlOf(secret: string): string[] {
  const named = secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return ['&#39;', '&#x27;', '&apos;'].flatMap((quote) =>
    ['&quot;', '&#34;', '&#x22;'].map((double) => named.replaceAll("'", quote).replaceAll('"', double))
  )
}
