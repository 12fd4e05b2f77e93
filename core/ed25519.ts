import { createPrivateKey, type KeyObject } from 'node:crypto'

// RFC 8410: PKCS 8 of an ed25519 key up to its 32 bytes of seed.
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')

/** The private key of a seed: who has the same 32 bytes has the same key. */
export function ed25519FromSeed(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' })
}
