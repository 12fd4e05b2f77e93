import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify
} from 'node:crypto'
import { chmod, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ed25519FromSeed } from '#core/ed25519.ts'
import { sha256 } from '#skills-registry/package/digest.ts'
import { Refusal } from '#skills-registry/refusal.ts'

/** An ed25519 public key. `keyId` is the sha256 (hex) of its SPKI bytes, `spki` those bytes in base64. */
export interface PublicKey {
  keyId: string
  spki: string
  verify(bytes: Uint8Array, signature: Uint8Array): boolean
}

export interface SigningKey extends PublicKey {
  sign(bytes: Uint8Array): Uint8Array
}

function describe(key: KeyObject): PublicKey {
  if (key.asymmetricKeyType !== 'ed25519') throw new Refusal('SKILLS_KEY_INVALID', 'only ed25519 keys are used')
  const spki = key.export({ type: 'spki', format: 'der' })
  return {
    keyId: sha256(spki),
    spki: spki.toString('base64'),
    verify: (bytes, signature) => signature.length === 64 && verify(null, bytes, key, signature)
  }
}

function describePrivate(key: KeyObject): SigningKey {
  return { ...describe(createPublicKey(key)), sign: (bytes) => sign(null, bytes, key) }
}

/**
 * @param spki base64 of the SPKI bytes; only its one canonical spelling is taken, since the key id is over the bytes
 * @throws SKILLS_KEY_INVALID
 */
export function publicKeyFrom(spki: string): PublicKey {
  let key: PublicKey
  try {
    key = describe(createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' }))
  } catch (cause) {
    throw new Refusal('SKILLS_KEY_INVALID', 'not an ed25519 public key', {}, cause)
  }
  if (key.spki !== spki) throw new Refusal('SKILLS_KEY_INVALID', 'the public key is not spelled as its own bytes')
  return key
}

/**
 * A key pair and its PEM (PKCS 8), for whoever keeps it elsewhere than in a file.
 * @param seed 32 bytes: the same seed gives the same key. Without it a new one.
 */
export function createKey(seed?: Uint8Array): { key: SigningKey; pem: string } {
  const privateKey = seed ? ed25519FromSeed(seed) : generateKeyPairSync('ed25519').privateKey
  return { key: describePrivate(privateKey), pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

/**
 * Writes a new key pair to a file of mode 0600 (PEM, PKCS 8).
 * @throws EEXIST when the file is there: a key is never overwritten
 */
export async function createKeyFile(file: string, seed?: Uint8Array): Promise<SigningKey> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const { key, pem } = createKey(seed)
  // Linked into place when it is complete: a second process sees no file or a whole key, never half of one.
  const draft = `${file}.${randomBytes(8).toString('hex')}`
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(pem)
    await handle.sync()
    await link(draft, file)
  } finally {
    await handle.close()
    await rm(draft, { force: true })
  }
  await chmod(file, 0o600) // the umask of the process may only have narrowed it, but say it
  return key
}

/**
 * Loads a key file.
 * @throws SKILLS_KEY_FILE_MODE when others may read it, SKILLS_KEY_INVALID when it holds no ed25519 key, ENOENT
 */
export async function loadKeyFile(file: string): Promise<SigningKey> {
  const { mode } = await stat(file)
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw new Refusal('SKILLS_KEY_FILE_MODE', `${file} can be read by others: chmod 600`, { file })
  }
  const pem = await readFile(file, 'utf8')
  try {
    return describePrivate(createPrivateKey(pem))
  } catch (cause) {
    throw new Refusal('SKILLS_KEY_INVALID', `${file} holds no ed25519 private key`, { file }, cause)
  }
}

/** loadKeyFile, made on first use; two processes at once end with the same key. */
export async function loadOrCreateKeyFile(file: string, seed?: Uint8Array): Promise<SigningKey> {
  try {
    return await loadKeyFile(file)
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
  }
  try {
    return await createKeyFile(file, seed)
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) throw cause
    return loadKeyFile(file)
  }
}
