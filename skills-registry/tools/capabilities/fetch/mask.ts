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

/**
 * Takes secrets out of what a host answered, in every way in which text is usually written. It looks for the secrets of
 * this request only: core/scrub.ts knows those of all tenants, and a skill could find out by it which ones live.
 */
export function createMask(secrets: readonly Secret[]): Mask {
  const forms = new Set(secrets.flatMap((secret) => writtenForms(secret.reveal())))
  if (forms.size === 0) return { bytes: (bytes) => bytes, text: (text) => text, isIn: () => false }
  // Longest first: what contains another form goes whole. Over latin1, so that a character is a byte.
  const longestFirst = [...forms].sort((a, b) => b.length - a.length)
  const pattern = new RegExp(longestFirst.map((form) => RegExp.escape(form)).join('|'), 'g')
  const latin1 = (text: string) => text.replace(pattern, MASK)
  return {
    bytes: (bytes) => {
      const text = bytes.toString('latin1')
      const clean = latin1(text)
      return clean === text ? bytes : Buffer.from(clean, 'latin1')
    },
    text: (text) => Buffer.from(latin1(Buffer.from(text).toString('latin1')), 'latin1').toString(),
    isIn: (text) => Buffer.from(text).toString('latin1').search(pattern) >= 0
  }
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
}

/** Escapes of text that needs none, which some writers use all the same. */
function everyCharacterOf(secret: string): string[] {
  const hex = Buffer.from(secret).toString('hex')
  const escapes = (sign: string, digits: string) => digits.replaceAll(/../g, (byte) => sign + byte)
  const units = [...Buffer.from(secret, 'utf16le').swap16().toString('hex').matchAll(/.{4}/g)].map(([unit]) => unit)
  return [hex, hex.toUpperCase()]
    .flatMap((digits) => [
      escapes('%', digits),
      escapes('\\x', digits),
      escapes(' ', digits).trim(),
      escapes(':', digits).slice(1)
    ])
    .concat(units.map((unit) => `\\u${unit}`).join(''), units.map((unit) => `\\u${unit.toUpperCase()}`).join(''))
}

function htmlOf(secret: string): string[] {
  const named = secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return ['&#39;', '&#x27;', '&apos;'].flatMap((quote) =>
    ['&quot;', '&#34;', '&#x22;'].map((double) => named.replaceAll("'", quote).replaceAll('"', double))
  )
}
