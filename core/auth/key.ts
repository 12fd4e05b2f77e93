import { createHmac, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { Secret } from '#core/secret.ts'

// ak_live_<8: public prefix>_<43: 32 random bytes>_<6: CRC-32 of all before>, all base62. The fixed shape is for secret
// scanners, the checksum keeps mistyped and invented keys away from the database.
const shape = /^ak_live_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})$/
const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export interface ParsedKey {
  prefix: string
  secret: string
}

/** @param prefix of the key that gets another secret */
export function newKey(prefix = Array.from({ length: 8 }, () => alphabet[randomInt(62)]).join('')): {
  key: Secret
  prefix: string
  secret: string
} {
  const secret = base62(BigInt(`0x${randomBytes(32).toString('hex')}`), 43)
  const body = `ak_live_${prefix}_${secret}`
  return { key: new Secret(`${body}_${checksum(body)}`), prefix, secret }
}

/** Null when the text has not the shape of a key, or its checksum does not fit. */
export function parseKey(text: string): ParsedKey | null {
  const [, prefix, secret, sum] = shape.exec(text) ?? []
  if (prefix === undefined || secret === undefined) return null
  return checksum(`ak_live_${prefix}_${secret}`) === sum ? { prefix, secret } : null
}

/** A fast hash is enough for 256 random bits; the pepper makes a stolen table useless on its own. */
export function hashSecret(pepper: Secret, secret: string): Buffer {
  return createHmac('sha256', pepper.reveal()).update(secret).digest()
}

export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

function checksum(text: string): string {
  return base62(BigInt(crc32(text)), 6)
}

function base62(value: bigint, width: number): string {
  let text = ''
  for (let rest = value; rest > 0n; rest /= 62n) text = alphabet[Number(rest % 62n)] + text
  return text.padStart(width, '0')
}
