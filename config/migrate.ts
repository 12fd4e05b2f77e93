// `npm run migrate`: brings the database to the state of this code and ends. 0 when it is there, 1 with the reason.
import { silentLog } from '#core/db/index.ts'
import { errorMessage } from '#core/errors.ts'
import { coreMigrations } from '#core/migrations.ts'
import { migrationsOf } from '#core/plugin.ts'
import { prepareDatabase } from './database.ts'
import { loadEnv } from './env.ts'
import { plugins } from './plugins.ts'

try {
  const rooms = [...coreMigrations, ...migrationsOf(plugins)]
  const database = await prepareDatabase({ env: loadEnv(), rooms, log: silentLog })
  await database.stop()
  for (const name of database.applied) console.log(`applied ${name}`)
  if (database.applied.length === 0) console.log('the database is up to date')
} catch (error) {
  console.error(errorMessage(error))
  process.exitCode = 1
}
