import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Db } from '#core/db/types.ts'
import { defineError, errorMessage } from '#core/errors.ts'
import { newId } from '#core/ids.ts'
import type { FullKernel } from '#core/kernel.ts'
import { must } from '#core/must.ts'
import { TenantSlugTaken } from '#core/tenants/errors.ts'
import { createTenant, findTenant, TENANT_ZERO } from '#core/tenants/tenants.ts'

// A name of its own: a system error that leaves a transaction counts as the database's.
export const OwnerKeyFile = defineError('CONFIG_OWNER_KEY_FILE', 500, (file: string, cause: unknown) => ({
  message: `the owner's key cannot be kept in ${file}: ${errorMessage(cause)}`,
  cause
}))

/** What became of the owner's key at this boot. `elsewhere`: another host of this database made it and keeps it. */
export type OwnerKey = { status: 'created' | 'kept'; file: string; key: string } | { status: 'elsewhere' }

/**
 * Tenant Zero, its owner and the owner's API key: made at the first boot of a database, found again at later ones.
 * The key is written (mode 0600) before the transaction of owner and key commits: a crash between leaves a useless file
 * and a tenant without an owner, which the next boot goes on with. Hosts that boot at once make one owner. An embedded
 * database whose key file was deleted gets a new key: its operator owns the folder.
 */
export async function ensureOwner(
  { db, auth }: Pick<FullKernel, 'db' | 'auth'>,
  home: string,
  embedded: boolean
): Promise<OwnerKey> {
  const file = join(home, 'owner.key')
  await ensureTenantZero(db)
  return await db.tenant(TENANT_ZERO, async (tx): Promise<OwnerKey> => {
    // One host after the other; a statement of its own, so that the next one sees what the former holder committed.
    must((await tx`select 1 from core.tenants for update`)[0], 'Tenant Zero')
    const [owner] = await tx`select 1 from core.member where role = 'owner' limit 1`
    if (owner) {
      const kept = await readKey(file)
      if (kept !== null) return { status: 'kept', file, key: kept }
      if (!embedded) return { status: 'elsewhere' }
    }
    const userId = newId()
    await tx`insert into core.member (user_id, role) values (${userId}, 'owner')`
    const made = await auth.createKey(tx, { name: 'owner', scopes: ['*', 'platform:*'], userId })
    const key = made.key.reveal()
    await writeKey(file, key)
    return { status: 'created', file, key }
  })
}

async function ensureTenantZero(db: Db): Promise<void> {
  const there = () => db.system((tx) => findTenant(tx, TENANT_ZERO))
  if (await there()) return
  const wanted = { id: TENANT_ZERO, name: 'Tenant Zero', slug: 'zero', plan: 'enterprise' }
  try {
    await db.system((tx) => createTenant(tx, wanted))
  } catch (error) {
    // Another host was faster; a slug that some other tenant has is an error.
    if (!(error instanceof TenantSlugTaken) || !(await there())) throw error
  }
}

async function readKey(file: string): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw new OwnerKeyFile(file, error)
  }
}

async function writeKey(file: string, key: string): Promise<void> {
  try {
    await writeFile(`${file}.new`, `${key}\n`, { mode: 0o600 })
    await rename(`${file}.new`, file)
  } catch (error) {
    throw new OwnerKeyFile(file, error)
  }
}
