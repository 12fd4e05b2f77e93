import { join } from 'node:path'
import {
  type DbLog,
  deriveSecrets,
  loginUrl,
  type MigrationRoom,
  migrate,
  startEmbeddedPostgres
} from '#core/db/index.ts'
import { guardForLife, Secret } from '#core/secret.ts'
import type { Env } from './env.ts'

export interface PreparedDatabase {
  /** logins for openDb */
  appUrl: Secret
  systemUrl: Secret
  /** 'room/file' of the migrations that this call applied */
  applied: string[]
  /** whether it is the embedded one: shown at boot, and said nowhere else */
  embedded: boolean
  /** Ends the embedded server, as the last step of a shutdown; nothing to do for a given database. */
  stop(): Promise<void>
}

/**
 * The database of the configuration, started where it is the embedded one, and brought to the state of this code.
 * @param rooms in order, core's first
 * @throws what migrate() and startEmbeddedPostgres() throw; the embedded server is stopped then
 */
export async function prepareDatabase(options: {
  env: Env
  rooms: readonly MigrationRoom[]
  log: DbLog
}): Promise<PreparedDatabase> {
  const { env, log } = options
  const server = env.databaseUrl ? null : await startEmbeddedPostgres({ dir: join(env.home, 'postgres'), log })
  const url = new Secret(server ? server.url : (env.databaseUrl?.reveal() ?? ''))
  guardForLife({ url }) // the embedded server's own connection keeps its text
  try {
    const { applied } = await migrate({
      url: url.reveal(),
      rooms: [...options.rooms],
      secret: env.secret,
      derivedLogins: env.databaseAppUrl === null,
      log
    })
    const secrets = deriveSecrets(env.secret)
    const login = (...who: ['agentos_app' | 'agentos_system', Secret]) => new Secret(loginUrl(url.reveal(), ...who))
    return {
      appUrl: env.databaseAppUrl ?? login('agentos_app', secrets.appPassword),
      systemUrl: env.databaseSystemUrl ?? login('agentos_system', secrets.systemPassword),
      applied,
      embedded: server !== null,
      stop: async () => server?.stop()
    }
  } catch (error) {
    await server?.stop()
    throw error
  }
}
