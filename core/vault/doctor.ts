import { randomBytes } from 'node:crypto'
import type { Db } from '#core/db/types.ts'
import type { Doctor, Verdict } from '#core/doctor/doctor.ts'
import { newId } from '#core/ids.ts'
import { type Place, page, type StoredKey } from './key-store.ts'
import type { KeyWrapper } from './keys.ts'
import type { Vault } from './vault.ts'

const PAGE = 500
// Opening a hundred thousand keys takes some seconds here, and longer with a KMS.
const LIMIT_MS = 60_000

/** What an operator sees of the vault: keys and versions, nothing of a secret. */
export function addVaultChecks(doctor: Doctor, db: Db, vault: Vault): void {
  const { wrapper } = vault
  doctor.add('tenancy', {
    name: 'vault.keks',
    title: 'every version of the key encryption key that a data key is wrapped with is configured',
    async run() {
      const { versions } = await vault.rotation.status()
      const lost = versions.filter(({ configured }) => !configured)
      const names = lost.map(({ version, dataKeys }) => `version ${version} (${dataKeys} data keys)`).join(', ')
      if (lost.length > 0) return { ok: false, detail: `not configured: ${names}`, fix: 'bring it back in VAULT_KEKS' }
      return { ok: true, detail: `configured: ${[...wrapper.versions].join(', ')}` }
    }
  })

  doctor.add('tenancy', {
    name: 'vault.rotation',
    title: 'no data key is wrapped with an older key encryption key than the current one',
    async run() {
      const { current, remaining } = await vault.rotation.status()
      if (remaining === 0) return { ok: true, detail: `version ${current}; older ones may leave VAULT_KEKS` }
      return {
        ok: false,
        detail: `${remaining} data keys wait for version ${current}`,
        fix: 'POST /v1/platform/vault/rotation; do not remove the older version before'
      }
    }
  })

  doctor.add('tenancy', {
    name: 'vault.data_keys',
    title: "every tenant's data key unwraps, for this tenant",
    limitMs: LIMIT_MS,
    run: () => unwrapAll(db, wrapper)
  })

  doctor.add('tenancy', {
    name: 'vault.binding',
    title: "a tenant's data key does not unwrap for another tenant",
    run: () => tryBinding(wrapper)
  })
}

async function unwrapAll(db: Db, wrapper: KeyWrapper): Promise<Verdict> {
  const broken: string[] = []
  let seen = 0
  for (let after: Place | null = null; ; ) {
    const place: Place | null = after
    const rows: StoredKey[] = await db.system((tx) => page(tx, place, PAGE))
    for (const { tenantId, generation, wrapped, kekVersion } of rows) {
      seen++
      await wrapper.unwrap(tenantId, wrapped, kekVersion).then(
        (key) => key.fill(0),
        () => broken.push(`${tenantId}/${generation} (version ${kekVersion})`)
      )
    }
    after = rows.at(-1) ?? null
    if (rows.length < PAGE) break
  }
  if (seen === 0) return { ok: 'unknown', detail: 'no tenant has a secret yet' }
  if (broken.length === 0) return { ok: true, detail: `${seen} data keys` }
  return {
    ok: false,
    detail: `${broken.length} of ${seen} do not unwrap: ${broken.slice(0, 5).join(', ')}`,
    fix: 'restore these rows of vault.data_key from a backup; else their tenants put their secrets again'
  }
}

// Nothing stays of it. An adapter of a KMS that leaves out the encryption context is found here.
async function tryBinding(wrapper: KeyWrapper): Promise<Verdict> {
  const key = randomBytes(32)
  const wrapped = await wrapper.wrap(newId(), key)
  const opened = await wrapper.unwrap(newId(), wrapped, wrapper.current).then(
    () => true,
    () => false
  )
  if (!opened) return { ok: true, detail: `version ${wrapper.current} binds the tenant` }
  return { ok: false, detail: 'it unwrapped', fix: 'the key wrapper must bind the tenant to what it wraps' }
}
