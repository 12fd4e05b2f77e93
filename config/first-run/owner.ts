import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { newId } from '#core/ids.ts'
import type { FullKernel } from '#core/kernel.ts'
import { createTenant, findTenant, TENANT_ZERO } from '#core/tenants/tenants.ts'

/** What became of the owner's key at this boot. `elsewhere`: another host of this database made it and keeps it. */
export type OwnerKey = { status: 'created' | 'kept'; file: string; key: string } | { status: 'elsewhere' }

/**
 * Tenant Zero, its owner and the owner's API key: made at the first boot of a database, found again at later ones.
 * The key is written (mode 0600) before the transaction commits: a crash between leaves a useless file, never a tenant
 * whose key nobody has. An embedded database whose key file was deleted gets a new key: its operator owns the folder.
 */
export async function ensureOwner(kernel: FullKernel, home: string, embedded: boolean): Promise<OwnerKey> {
  const file = join(home, 'owner.key')
  const { db, auth } = kernel
  const existing = await db.system((tx) => findTenant(tx, TENANT_ZERO))
  const kept = existing ? await readKey(file) : null
  if (kept !== null) return { status: 'kept', file, key: kept }
  if (existing && !embedded) return { status: 'elsewhere' }
  if (!existing) {
    const wanted = { id: TENANT_ZERO, name: 'Tenant Zero', slug: 'zero', plan: 'enterprise' }
    await db.system((tx) => createTenant(tx, wanted))
  }
  const userId = newId()
  const key = await db.tenant(TENANT_ZERO, async (tx) => {
    await tx`insert into core.member (user_id, role) values (${userId}, 'owner')`
    const made = await auth.createKey(tx, { name: 'owner', scopes: ['*', 'platform:*'], userId })
    await writeFile(`${file}.new`, `${made.key.reveal()}\n`, { mode: 0o600 })
    await rename(`${file}.new`, file)
    return made.key.reveal()
  })
  return { status: 'created', file, key }
}

async function readKey(file: string): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}
