import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { associated, open, seal } from './crypto.ts'
import { KekMissing } from './errors.ts'

/**
 * Who wraps the tenants' data keys: the built-in one below, or a KMS (hence the promises). An adapter must bind tenant
 * and version to the wrapped key (AAD, "encryption context"): `agentos doctor` tries one key under another tenant.
 * Versions are whole numbers from 1 that only rise.
 */
export interface KeyWrapper {
  /** The version that new keys are wrapped with. */
  readonly current: number
  /** Every version that can be unwrapped, `current` among them. */
  readonly versions: ReadonlySet<number>
  /** @param dataKey 32 bytes; the caller zeroes them */
  wrap(tenantId: string, dataKey: Uint8Array): Promise<Uint8Array>
  /**
   * @returns 32 bytes, which the caller zeroes
   * @throws AppError when it cannot say (KekMissing; a KMS that does not answer: 503); any other error means that
   *   tenant, version or bytes are not those of `wrap`
   */
  unwrap(tenantId: string, wrapped: Uint8Array, version: number): Promise<Buffer>
}

/** What a vault needs of the installation's secrets. */
export interface VaultKeys {
  readonly wrapper: KeyWrapper
  /** For digests of values (idempotency): without it a digest in the database would be a way to guess values. */
  readonly fingerprintKey: KeyObject
}

/** One entry of VAULT_KEKS; `key` null stands for `derived`. */
interface Kek {
  version: number
  key: string | null
}

const entry = /^([1-9]\d{0,8}):(derived|[\w+/-]{43}=?)$/

/**
 * `2:<base64 of 32 bytes>,1:derived`: the first is the current one, the others only unwrap. `derived` is the key made
 * of AGENTOS_SECRET, which every installation begins with as version 1.
 * @returns null when it is malformed, names a version twice or `derived` under another version than 1
 */
export function parseKeks(list: string): Kek[] | null {
  const found = list
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .map((part) => entry.exec(part))
  const keks = found.map((match) => ({ version: Number(match?.[1]), key: match?.[2] ?? 'derived' }))
  const sound = found.every((match) => match !== null) && keks.length > 0
  const once = new Set(keks.map(({ version }) => version)).size === keks.length
  if (!sound || !once || keks.some(({ version, key }) => key === 'derived' && version !== 1)) return null
  return keks.map(({ version, key }) => ({ version, key: key === 'derived' ? null : key }))
}

/**
 * The built-in key encryption keys.
 * @param derived base64url of 32 bytes, from AGENTOS_SECRET (deriveSecrets)
 * @param list VAULT_KEKS; null: the derived one alone, as version 1
 */
export function vaultKeys(derived: Secret, list: Secret | null = null): VaultKeys {
  const keks = must(parseKeks(list?.reveal() ?? '1:derived'), 'a usable VAULT_KEKS')
  const fingerprint = hkdfSync('sha256', derived.reveal(), 'agentos', 'agentos/vault-fingerprint', 32)
  return {
    wrapper: new LocalKeys(keks.map(({ version, key }) => [version, key === null ? derived : new Secret(key)])),
    fingerprintKey: keyOf(Buffer.from(fingerprint))
  }
}

interface Held {
  key: KeyObject
  /** Nobody asks it again: it keeps the scrubber looking for the key as long as the key can be used (INV-7). */
  text: Secret
}

/** Keys in this process's memory, outside of the JS heap (KeyObject), where neither a log nor a dump of it shows them. */
export class LocalKeys implements KeyWrapper {
  readonly current: number
  readonly versions: ReadonlySet<number>
  readonly #keys: ReadonlyMap<number, Held>

  /** @param keys base64 of 32 bytes each, the current version first */
  constructor(keys: readonly (readonly [version: number, key: Secret])[]) {
    this.current = must(keys[0], 'the current key encryption key')[0]
    this.#keys = new Map(
      keys.map(([version, text]) => [version, { key: keyOf(Buffer.from(text.reveal(), 'base64')), text }])
    )
    this.versions = new Set(this.#keys.keys())
  }

  async wrap(tenantId: string, dataKey: Uint8Array): Promise<Buffer> {
    return seal(this.#key(this.current), associated('data-key', tenantId, String(this.current)), dataKey)
  }

  async unwrap(tenantId: string, wrapped: Uint8Array, version: number): Promise<Buffer> {
    return open(this.#key(version), associated('data-key', tenantId, String(version)), wrapped)
  }

  #key(version: number): KeyObject {
    const held = this.#keys.get(version)
    if (!held) throw new KekMissing([version])
    return held.key
  }
}

function keyOf(bytes: Buffer): KeyObject {
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}
