import { randomBytes } from 'node:crypto'
import type { Db, Tx } from '#core/db/types.ts'
import { AppError, errorMessage, Internal } from '#core/errors.ts'
import { Secret } from '#core/secret.ts'
import { associated, open, seal } from './crypto.ts'
import { Unreadable } from './errors.ts'
import { insertDataKey } from './key-store.ts'
import type { KeyWrapper } from './keys.ts'
import { type DataKeyRow, type SealedRow, useDataKey } from './store.ts'

/** What a value is, besides its tenant's: sealed as one it opens as no other. A name may be used again, an id is not. */
export interface SealedAs {
  id: string
  name: string
  version: number
}

/** Seals one value, once, with a tenant's youngest data key. */
export type Sealer = (as: SealedAs, value: Secret) => { generation: number; sealed: Buffer }

export interface SealParts {
  db: Db
  wrapper: KeyWrapper
}

const DATA_KEY_BYTES = 32

/**
 * Runs `work` with the tenant's youngest data key in memory, made where there is none or the last one has sealed enough.
 * The key is zeroed when `work` is done; nothing is kept between two calls.
 */
export async function withSealer<T>(tx: Tx, parts: SealParts, work: (seal: Sealer) => Promise<T>): Promise<T> {
  return await unwrapped(await dataKey(tx, parts), parts.wrapper, work)
}

/**
 * The same for what can be done another time: nothing happens where somebody holds the youngest data key, or it has
 * sealed enough. Who holds rows of secrets already must not wait for it: others hold it and wait for those.
 */
export async function withIdleSealer(
  tx: Tx,
  wrapper: KeyWrapper,
  work: (seal: Sealer) => Promise<void>
): Promise<void> {
  const { key } = await useDataKey(tx, 'pass by')
  if (key) await unwrapped(key, wrapper, work)
}

async function unwrapped<T>(row: DataKeyRow, wrapper: KeyWrapper, work: (seal: Sealer) => Promise<T>): Promise<T> {
  const key = await wrapper.unwrap(row.tenantId, row.wrapped, row.kekVersion)
  try {
    return await work((as, value) => {
      const plain = Buffer.from(value.reveal())
      try {
        return { generation: row.generation, sealed: seal(key, aadOf(row.tenantId, as), plain) }
      } finally {
        plain.fill(0)
      }
    })
  } finally {
    key.fill(0)
  }
}

/** @throws Unreadable when the row is not what was sealed; what the wrapper says of itself (KekMissing) */
export async function openSealed(wrapper: KeyWrapper, name: string, row: SealedRow): Promise<Secret> {
  const fail = (reason: string, error?: unknown) => new Unreadable(name, row.version, reason, error)
  // A left join: shredded, or restored without its data key.
  if (row.wrapped === null) throw fail('its data key is gone')
  const key = await wrapper.unwrap(row.tenantId, row.wrapped, row.kekVersion).catch((error) => {
    if (error instanceof AppError) throw error
    throw fail(`its data key does not unwrap (${errorMessage(error)})`, error)
  })
  try {
    const plain = open(key, aadOf(row.tenantId, { id: row.id, name, version: row.version }), row.sealed)
    try {
      return new Secret(plain.toString())
    } finally {
      plain.fill(0)
    }
  } catch (error) {
    throw fail('its row was changed or belongs to another tenant, secret, name or version', error)
  } finally {
    key.fill(0)
  }
}

function aadOf(tenantId: string, { id, name, version }: SealedAs): Buffer {
  return associated('secret', tenantId, id, name, String(version))
}

// A data key is made in a transaction of its own, by agentos_system: a tenant's session may not write one. It stays when
// `tx` is rolled back, and the next one to seal takes it.
async function dataKey(tx: Tx, { db, wrapper }: SealParts): Promise<DataKeyRow> {
  // Twice more: somebody else may have made the generation, and (2^32 seals later) used it up.
  for (let attempt = 0; attempt < 3; attempt++) {
    const { tenantId, last, key } = await useDataKey(tx)
    if (key) return key
    const fresh = randomBytes(DATA_KEY_BYTES)
    try {
      const wrapped = await wrapper.wrap(tenantId, fresh)
      const made = { tenantId, generation: last + 1, wrapped, kekVersion: wrapper.current }
      await db.system((own) => insertDataKey(own, made))
    } finally {
      fresh.fill(0)
    }
  }
  throw new Internal('no data key could be made')
}
