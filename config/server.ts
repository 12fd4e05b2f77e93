import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { buildApp } from '#core/app.ts'
import { systemClock } from '#core/clock.ts'
import { armCrashPoint } from '#core/crash-point.ts'
import { type Db, deriveSecrets, openDb } from '#core/db/index.ts'
import { defineError } from '#core/errors.ts'
import type { EdgeOptions } from '#core/http/edge/index.ts'
import { createKernel, type FullKernel, startKernel } from '#core/kernel.ts'
import type { Log } from '#core/log.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import type { App, Seat } from '#core/plugin.ts'
import { claimHostIdentity } from '#core/queue/host-identity.ts'
import { guardForLife } from '#core/secret.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { prepareDatabase } from './database.ts'
import type { Env } from './env.ts'
import { loadLimits } from './limits.ts'
import { migrations, planTable, seats } from './plugins.ts'

export const PortTaken = defineError(
  'CONFIG_PORT_TAKEN',
  500,
  (host: string, port: number) => `port ${port} of ${host} is taken: end what holds it, or set PORT to another one`
)

/** A server that serves: the app, its kernel and where it listens. */
export interface Server {
  readonly app: App
  readonly kernel: FullKernel
  readonly url: string
  readonly embedded: boolean
  /** Goes down in order: drain first, the embedded database last. */
  stop(reason: string): Promise<void>
}

/** Ports tried above the default one before giving up. */
const PORTS_TRIED = 50

/**
 * Brings the whole server up: database (embedded where none is given) and migrations, kernel, rooms, listener.
 * What was up already is brought down again where a later part fails.
 * @param prepare runs when the rooms stand and before anything runs or is served (the first boot's owner)
 * @param rooms those of this server; others only where a program of its own stands on it
 */
export async function startServer(
  env: Env,
  log: Log,
  prepare: (parts: { kernel: FullKernel; embedded: boolean }) => Promise<void> = async () => {},
  rooms: readonly Seat[] = seats(env)
): Promise<Server> {
  if (env.crashAt) armCrashPoint(env.crashAt.point, env.crashAt.after)
  await mkdir(env.home, { recursive: true, mode: 0o700 })
  const database = await prepareDatabase({ env, rooms: migrations(rooms), log })
  const secrets = deriveSecrets(env.secret)
  for (const holder of [env, secrets, database]) guardForLife(holder)
  let kernel: FullKernel | undefined
  let db: Db | undefined
  try {
    db = await openDb({
      appUrl: database.appUrl.reveal(),
      systemUrl: database.systemUrl.reveal(),
      tenantHmacKey: secrets.tenantHmacKey,
      log
    })
    const host = await claimHostIdentity(db, env.home, systemClock)
    kernel = createKernel({
      db,
      clock: systemClock,
      log,
      objects: new FileObjectStore({ dir: env.objectsDir }),
      apiKeyPepper: secrets.apiKeyPepper,
      userTokenKey: secrets.userTokenKey,
      allowedOrigins: env.allowedOrigins,
      jwtIssuer: env.jwtIssuer,
      auditKeySeed: secrets.auditKeySeed,
      vaultKeys: vaultKeys(secrets.kek, env.vaultKeks),
      hostId: host.id,
      concurrency: env.concurrency,
      eventRetentionDays: env.eventRetentionDays,
      plans: planTable,
      limits: loadLimits(env.rateLimits),
      redisUrl: env.redisUrl
    })
    kernel.shutdown.step('release-leases', 'host', () => host.release())
    kernel.shutdown.step('stop-database', 'database', () => database.stop())
    const app = await buildApp({ kernel, rooms, version: '0.1.0', edge: edgeOf(env) })
    await prepare({ kernel, embedded: database.embedded })
    await startKernel(kernel)
    const url = await listen(app, env)
    const { shutdown } = kernel
    return { app, kernel, url, embedded: database.embedded, stop: (reason) => shutdown.run(reason) }
  } catch (error) {
    // Nothing may stay open: a process that cannot start has to end.
    if (kernel) await kernel.shutdown.run('the boot failed')
    else {
      await db?.close()
      await database.stop()
    }
    throw error
  }
}

// A loop that is a second late, or a heap with a tenth left: what is let in then only makes all of it later.
function edgeOf({ trustProxy, allowedOrigins }: Env): EdgeOptions {
  return { trustProxy, allowedOrigins, pressure: { eventLoopMs: 1000, heapShare: 0.9 } }
}

/** The wanted port; where it was not set and is taken, the next free one. */
async function listen(app: App, env: Env): Promise<string> {
  await app.ready()
  const last = env.portIsSet ? env.port : env.port + PORTS_TRIED
  for (let port = env.port; port <= last; port += 1) {
    app.server.listen({ port, host: env.host })
    try {
      await once(app.server, 'listening')
      const { port: bound } = app.server.address() as AddressInfo
      const host = env.host.includes(':') ? `[${env.host}]` : env.host
      return `http://${host}:${bound}`
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error
    }
  }
  throw new PortTaken(env.host, env.port)
}
