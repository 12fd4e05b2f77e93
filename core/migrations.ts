import type { MigrationRoom } from '#core/db/index.ts'

const parts = ['db', 'tenants', 'auth', 'audit', 'vault', 'bus', 'queue', 'queue/jobs', 'actors', 'http']

/** The kernel's own tables, in the order in which they stand on each other; before those of any plugin. */
export const coreMigrations: readonly MigrationRoom[] = parts.map((part) => ({
  name: `core/${part}`,
  dir: new URL(`./${part}/sql/`, import.meta.url)
}))
