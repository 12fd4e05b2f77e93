import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'

// A sealed box: 1 byte format, 12 bytes nonce, the ciphertext, 16 bytes tag.
const FORMAT = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES

/**
 * The associated data of a box: what it belongs to. Each part stands behind its length, so that no two lists of parts
 * give the same bytes ('a', 'bc' and 'ab', 'c').
 * @param use keeps boxes of different uses apart, should they ever share a key
 */
export function associated(use: 'data-key' | 'secret' | 'fingerprint', ...parts: readonly string[]): Buffer {
  return Buffer.concat(
    [`agentos.vault.${use}`, ...parts].flatMap((part) => {
      const bytes = Buffer.from(part)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    })
  )
}

/** AES-256-GCM with a random nonce. The caller zeroes `plain`. */
export function seal(key: KeyObject | Buffer, aad: Buffer, plain: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(aad)
  const text = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([Buffer.of(FORMAT), nonce, text, cipher.getAuthTag()])
}

/**
 * The plain bytes, which the caller zeroes after use.
 * @throws Error when key, associated data or any bit of the box is not what it was sealed with
 */
export function open(key: KeyObject | Buffer, aad: Buffer, box: Uint8Array): Buffer {
  if (box.length < OVERHEAD_BYTES || box[0] !== FORMAT) throw new Error('not a sealed box of this format')
  const nonce = box.subarray(1, 1 + NONCE_BYTES)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(aad)
  decipher.setAuthTag(box.subarray(-TAG_BYTES))
  const first = decipher.update(box.subarray(1 + NONCE_BYTES, -TAG_BYTES))
  try {
    const last = decipher.final()
    if (last.length === 0) return first
    const all = Buffer.concat([first, last])
    last.fill(0)
    first.fill(0)
    return all
  } catch (error) {
    first.fill(0) // unauthenticated plaintext must not stay either
    throw error
  }
}
