import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { ed25519FromSeed } from '#core/ed25519.ts'
import type { Secret } from '#core/secret.ts'

/** Who can tell whether a chain's head is this server's. `publicKey` is its SPKI in base64, `id` the sha256 of that (hex). */
export interface AuditPublicKey {
  readonly id: string
  readonly publicKey: string
  /** False also for what is no signature at all. */
  verify(text: string, signature: string): boolean
}

export interface AuditKey extends AuditPublicKey {
  /** ed25519, base64. */
  sign(text: string): string
}

/** @param seed base64url of 32 bytes: hosts of one database have the same one, and so the same key */
export function auditKey(seed: Secret): AuditKey {
  const key = ed25519FromSeed(Buffer.from(seed.reveal(), 'base64url'))
  return { ...describe(createPublicKey(key)), sign: (text) => sign(null, Buffer.from(text), key).toString('base64') }
}

/** @throws TypeError for what is no ed25519 public key */
export function auditPublicKey(spki: string): AuditPublicKey {
  const key = createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' })
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('not an ed25519 key')
  return describe(key)
}

function describe(key: KeyObject): AuditPublicKey {
  const spki = key.export({ type: 'spki', format: 'der' })
  return {
    id: createHash('sha256').update(spki).digest('hex'),
    publicKey: spki.toString('base64'),
    verify: (text, signature) => {
      const bytes = Buffer.from(signature, 'base64')
      return bytes.length === 64 && verify(null, Buffer.from(text), key, bytes)
    }
  }
}
