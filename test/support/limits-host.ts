// A host of its own process that does nothing but count requests: `node limits-host.ts <JSON of LimitsHost>`.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { buildApp } from '#core/app.ts'
import { createAuth } from '#core/auth/auth.ts'
import { systemClock } from '#core/clock.ts'
import { deriveSecrets, openDb } from '#core/db/index.ts'
import { Health } from '#core/http/health.ts'
import { type LimitTable, RateLimits } from '#core/http/limits/index.ts'
import { createLog } from '#core/log.ts'
import { createRedis } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'

/** What it is told. */
export interface LimitsHost {
  appUrl: string
  systemUrl: string
  secret: string
  redisUrl: string | null
  table: LimitTable
}

const told = JSON.parse(process.argv[2] ?? '') as LimitsHost
const { apiKeyPepper: pepper, userTokenKey, tenantHmacKey } = deriveSecrets(new Secret(told.secret))
const [clock, log] = [systemClock, createLog({ level: 'warn' })]
const db = await openDb({ appUrl: told.appUrl, systemUrl: told.systemUrl, tenantHmacKey, appPool: 2, systemPool: 2 })
const redis =
  told.redisUrl === null ? null : createRedis({ url: new Secret(told.redisUrl), clock, log, commandMs: 5000 })
const limits = new RateLimits({ db, clock, table: told.table, redis })
const auth = createAuth({ db, clock, log, pepper, userTokenKey, limits })
const health = new Health({ clock, log })
health.add('limits', () => limits.reach(), { required: false })
await redis?.connect()
const app = await buildApp({ kernel: { db, clock, log, auth, health, limits }, rooms: [] })
app.server.listen({ port: 0, host: '127.0.0.1' })
await once(app.server, 'listening')
process.stdout.write(`agentos ready on http://127.0.0.1:${(app.server.address() as AddressInfo).port}\n`)
