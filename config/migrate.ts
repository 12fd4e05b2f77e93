// `npm run migrate`: brings the database to the state of this code and ends. 0 when it is there, 1 with the reason.
import { silentLog } from '#core/db/index.ts'
import { errorMessage } from '#core/errors.ts'
import { prepareDatabase } from './database.ts'
import { loadEnv } from './env.ts'
import { migrations, seats } from './plugins.ts'

try {
  const env = loadEnv()
  const database = await prepareDatabase({ env, rooms: migrations(seats(env)), log: silentLog })
  await database.stop()
  for (const name of database.applied) console.log(`applied ${name}`)
  if (database.applied.length === 0) console.log('the database is up to date')
} catch (error) {
  console.error(errorMessage(error))
  process.exitCode = 1
}
