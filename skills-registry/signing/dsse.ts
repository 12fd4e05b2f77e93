import { z } from 'zod'
import { Refusal } from '#skills-registry/refusal.ts'
import type { PublicKey, SigningKey } from './keys.ts'

// DSSE v1 (github.com/secure-systems-lab/dsse): the signature is over type and body together, so a payload can not be
// taken for one of another type (cosign CVE-2022-35929). Verify, then read the same bytes.

export const IN_TOTO = 'application/vnd.in-toto+json'

const Signature = z.strictObject({ keyid: z.string().regex(/^[0-9a-f]{64}$/), sig: z.string().max(128) })

export const Envelope = z.strictObject({
  payloadType: z.string().max(256),
  payload: z.string().max(1024 * 1024),
  signatures: z.array(Signature).max(16)
})
export type Envelope = z.output<typeof Envelope>

/** Pre-authentication encoding: the bytes that are signed. Lengths are of bytes, in decimal. */
export function pae(payloadType: string, payload: Uint8Array): Uint8Array {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `),
    payload
  ])
}

/** A new envelope with one signature. */
export function signEnvelope(payload: Uint8Array, key: SigningKey): Envelope {
  return addSignature({ payloadType: IN_TOTO, payload: Buffer.from(payload).toString('base64'), signatures: [] }, key)
}

/** The envelope with one more signature over the same payload. */
export function addSignature(envelope: Envelope, key: SigningKey): Envelope {
  const bytes = pae(envelope.payloadType, decodeBase64(envelope.payload))
  const sig = Buffer.from(key.sign(bytes)).toString('base64')
  return { ...envelope, signatures: [...envelope.signatures, { keyid: key.keyId, sig }] }
}

/** Whether this signature of the envelope is the key's, over these payload bytes. */
export function isSignedBy(key: PublicKey, signature: string, payloadType: string, payload: Uint8Array): boolean {
  return key.verify(pae(payloadType, payload), decodeBase64(signature))
}

/**
 * Strict base64: one text per content, so that a changed character cannot hide in unused bits.
 * @throws SKILLS_BUNDLE_INVALID
 */
export function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw new Refusal('SKILLS_BUNDLE_INVALID', 'not canonical base64')
  return bytes
}
