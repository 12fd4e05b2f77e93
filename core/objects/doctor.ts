import type { Db } from '#core/db/types.ts'
import type { DoctorCheck } from '#core/doctor/doctor.ts'
import type { ObjectStore } from './store.ts'

/** What `agentos doctor tenancy` asks of the object store. */
export function objectsCheck(objects: ObjectStore, db: Db): DoctorCheck {
  return {
    name: 'objects.prefixes',
    title: 'every stored object stands under its tenant or under platform/',
    async run() {
      const { scopes, strays } = await objects.scopes()
      const tenants = scopes.filter((scope) => scope !== 'platform')
      const known = await db.system(
        (tx) => tx<{ id: string }[]>`select tenant_id as id from core.tenants where tenant_id = any(${tenants}::uuid[])`
      )
      const ids = new Set(known.map(({ id }) => id))
      const orphans = tenants.filter((scope) => !ids.has(scope))
      if (strays.length + orphans.length === 0) return { ok: true, detail: `${tenants.length} tenants have objects` }
      const named = (names: string[]) => names.slice(0, 3).map((name) => JSON.stringify(name.slice(0, 80)))
      return {
        ok: false,
        detail: `${strays.length} things are no object (${named(strays)}), ${orphans.length} folders are no tenant's (${named(orphans)})`,
        fix: 'look at them and move them out of OBJECTS_DIR'
      }
    }
  }
}
