import { randomBytes } from 'node:crypto'
import type { Tx } from '#core/db/types.ts'
import { AppError, errorMessage, Internal } from '#core/errors.ts'
import { Secret } from '#core/secret.ts'
import { associated, open, seal } from './crypto.ts'
import { Unreadable } from './errors.ts'
import type { KeyWrapper } from './keys.ts'
import { type DataKeyRow, insertDataKey, type SealedRow, useDataKey } from './store.ts'

/** Seals one value, once, with a tenant's youngest data key. */
export type Sealer = (name: string, version: number, value: Secret) => { generation: number; sealed: Buffer }

const DATA_KEY_BYTES = 32

/**
 * Runs `work` with the tenant's youngest data key in memory, made where there is none or the last one has sealed enough.
 * The key is zeroed when `work` is done; nothing is kept between two calls.
 */
export async function withSealer<T>(tx: Tx, wrapper: KeyWrapper, work: (seal: Sealer) => Promise<T>): Promise<T> {
  const row = await dataKey(tx, wrapper)
  const key = await wrapper.unwrap(row.tenantId, row.wrapped, row.kekVersion)
  try {
    return await work((name, version, value) => {
      const plain = Buffer.from(value.reveal())
      try {
        return { generation: row.generation, sealed: seal(key, aadOf(row.tenantId, name, version), plain) }
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
    const plain = open(key, aadOf(row.tenantId, name, row.version), row.sealed)
    try {
      return new Secret(plain.toString())
    } finally {
      plain.fill(0)
    }
  } catch (error) {
    throw fail('its row was changed or belongs to another tenant, name or version', error)
  } finally {
    key.fill(0)
  }
}

function aadOf(tenantId: string, name: string, version: number): Buffer {
  return associated('secret', tenantId, name, String(version))
}

async function dataKey(tx: Tx, wrapper: KeyWrapper): Promise<DataKeyRow> {
  // Twice more: somebody else may have made the generation, and (2^32 seals later) used it up.
  for (let attempt = 0; attempt < 3; attempt++) {
    const { tenantId, last, key } = await useDataKey(tx)
    if (key) return key
    const fresh = randomBytes(DATA_KEY_BYTES)
    try {
      const wrapped = await wrapper.wrap(tenantId, fresh)
      await insertDataKey(tx, { generation: last + 1, wrapped, kekVersion: wrapper.current })
    } finally {
      fresh.fill(0)
    }
  }
  throw new Internal('no data key could be made')
}
