// The public face of core/db: other rooms import from here (`#core/db/index.ts`).
export { type EmbeddedOptions, type EmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts'
export * from './errors.ts'
export { type MigrateOptions, migrate } from './migrate.ts'
export type { MigrationRoom } from './migration-files.ts'
export { type OpenDbOptions, openDb } from './pool.ts'
export { type DerivedSecrets, deriveSecrets, loginUrl } from './secrets.ts'
export {
  type Actor,
  type Db,
  type DbLog,
  type ReservedConnection,
  silentLog,
  type TenantContext,
  type Tx
} from './types.ts'
