import { ActorHost } from '#core/actors/index.ts'
import type { Kernel } from '#core/app.ts'
import { AuditLog } from '#core/audit/service.ts'
import { createAuth } from '#core/auth/auth.ts'
import type { JwtIssuer } from '#core/auth/jwt/issuers.ts'
import { type Bus, createBus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/index.ts'
import { Doctor } from '#core/doctor/doctor.ts'
import { Health } from '#core/http/health.ts'
import { type LimitTable, RateLimits } from '#core/http/limits/index.ts'
import { Shutdown } from '#core/http/shutdown.ts'
import type { Log } from '#core/log.ts'
import { objectsCheck } from '#core/objects/doctor.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { Ports } from '#core/ports/ports.ts'
import { createJobs, type Jobs } from '#core/queue/jobs.ts'
import { addRedisChecks, createRedis, type Redis } from '#core/redis/index.ts'
import type { Secret } from '#core/secret.ts'
import { defineSweeps, scheduleSweeps } from '#core/sweeps.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import type { VaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { Gateway } from '#core/ws/index.ts'

export interface KernelOptions {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly objects: ObjectStore
  readonly apiKeyPepper: Secret
  readonly userTokenKey: Secret
  /** Web pages of other hosts that may connect to /v1/ws, as `https://app.example.com`. */
  readonly allowedOrigins?: readonly string[]
  /** Whose tokens are believed besides ours. */
  readonly jwtIssuer?: JwtIssuer | null
  readonly auditKeySeed: Secret
  readonly vaultKeys: VaultKeys
  /** This process's name in the lease tables. */
  readonly hostId: string
  /** Actors of one kind that run here at once. */
  readonly concurrency: number
  /** Days for which events can be read again. Default: for ever. */
  readonly eventRetentionDays?: number | null
  /** What plans allow; without it nothing is limited by a plan. */
  readonly plans?: PlanTable
  /** Requests a minute; without it nothing is limited. */
  readonly limits?: LimitTable
  /** Where hosts count requests together. */
  readonly redisUrl?: Secret | null
}

/** The kernel with all its parts; rooms stand on it, `startKernel` sets it going. */
export interface FullKernel extends Kernel {
  readonly bus: Bus
  readonly actors: ActorHost
  readonly jobs: Jobs
  readonly objects: ObjectStore
  readonly ports: Ports
  readonly ws: Gateway
  readonly health: Health
  readonly shutdown: Shutdown
  /** Parts add the checks that `agentos doctor` prints. */
  readonly doctor: Doctor
  readonly audit: AuditLog
  readonly vault: Vault
  /** Where there is one: a hint, never the truth. */
  readonly redis?: Redis
}

/** Effects get this long to finish when the host goes down; what still runs is cut off and handed to another host. */
const DRAIN_MS = 8000
const JOBS_MS = 2500

/** Makes the parts, in the order in which they stand on each other. Nothing runs yet. */
export function createKernel(options: KernelOptions): FullKernel {
  const { db, clock, log, objects, hostId, concurrency } = options
  const { apiKeyPepper: pepper, userTokenKey, jwtIssuer: issuer = null } = options
  const redis = options.redisUrl ? createRedis({ url: options.redisUrl, clock, log }) : null
  const limits = options.limits ? new RateLimits({ db, clock, table: options.limits, redis }) : undefined
  const auth = createAuth({ db, clock, log, pepper, userTokenKey, issuer, limits })
  const bus = createBus({ db, clock, log })
  const audit = new AuditLog({ db, clock, log, keySeed: options.auditKeySeed })
  const jobs = createJobs({ db, clock, log })
  const vault = new Vault({ db, clock, log, keys: options.vaultKeys })
  defineSweeps({ jobs, db, bus, log, objects, vault, retentionDays: options.eventRetentionDays ?? null })
  const actors = new ActorHost({ hostId, db, bus, clock, log, capacity: concurrency })
  const ws = new Gateway({ auth, bus, db, log, clock, allowedOrigins: options.allowedOrigins ?? [], rates: limits })
  const health = new Health({ clock, log })
  const shutdown = new Shutdown({ clock, log })
  const doctor = new Doctor({ clock })
  addRedisChecks(doctor, redis)
  doctor.add('tenancy', objectsCheck(objects, db))
  if (redis) health.add('redis', () => redis.ping(), { required: false })
  if (limits) health.add('limits', () => limits.reach(), { required: false })
  health.add('activations', () => actors.activations(), { required: false })
  shutdown.step('stop-claiming', 'actors', () => actors.stopClaiming())
  shutdown.step('stop-claiming', 'vault', () => vault.rotation.stop())
  shutdown.step('close-sockets', 'ws', () => ws.close())
  shutdown.step('drain', 'actors', () => actors.stop(DRAIN_MS))
  // After the actors: a session that pauses in the drain still sends its timer.
  shutdown.step('release-leases', 'jobs', () => jobs.stop(JOBS_MS))
  shutdown.step('release-leases', 'bus', () => bus.stop())
  shutdown.step('release-leases', 'audit', () => audit.stop())
  shutdown.step('close-pools', 'db', () => db.close())
  if (redis) shutdown.step('close-pools', 'redis', () => redis.close())
  const parts = { db, clock, log, auth, audit, bus, jobs, actors, objects, ports: new Ports(), ws, vault }
  const { plans } = options
  return {
    ...parts,
    ...(plans ? { plans } : {}),
    health,
    shutdown,
    doctor,
    ...(limits ? { limits } : {}),
    ...(redis ? { redis } : {})
  }
}

/** Sets the parts going, once every room has registered what it handles. */
export async function startKernel(
  kernel: Pick<FullKernel, 'audit' | 'bus' | 'jobs' | 'actors' | 'vault' | 'redis'>
): Promise<void> {
  // First: a server that cannot read its tenants' secrets must not begin anything.
  await kernel.vault.rotation.start()
  await kernel.redis?.connect()
  await kernel.bus.start()
  kernel.audit.start()
  await kernel.jobs.start()
  await scheduleSweeps(kernel.jobs)
  await kernel.actors.start()
}
