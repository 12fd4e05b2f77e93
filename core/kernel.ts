import { ActorHost } from '#core/actors/index.ts'
import type { Kernel } from '#core/app.ts'
import { createAuth } from '#core/auth/auth.ts'
import { type Bus, createBus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/index.ts'
import { Doctor } from '#core/doctor/doctor.ts'
import { Health } from '#core/http/health.ts'
import { Shutdown } from '#core/http/shutdown.ts'
import type { Log } from '#core/log.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { Ports } from '#core/ports/ports.ts'
import { createJobs, type Jobs } from '#core/queue/jobs.ts'
import type { Secret } from '#core/secret.ts'
import { defineSweeps, scheduleSweeps } from '#core/sweeps.ts'
import { Gateway } from '#core/ws/index.ts'

export interface KernelOptions {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly objects: ObjectStore
  readonly apiKeyPepper: Secret
  /** This process's name in the lease tables. */
  readonly hostId: string
  /** Actors of one kind that run here at once. */
  readonly concurrency: number
  /** Days for which events can be read again. Default: for ever. */
  readonly eventRetentionDays?: number | null
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
}

/** Effects get this long to finish when the host goes down; what still runs is cut off and handed to another host. */
const DRAIN_MS = 8000
const JOBS_MS = 2500

/** Makes the parts, in the order in which they stand on each other. Nothing runs yet. */
export function createKernel(options: KernelOptions): FullKernel {
  const { db, clock, log, objects, hostId, concurrency } = options
  const auth = createAuth({ db, clock, log, pepper: options.apiKeyPepper })
  const bus = createBus({ db, clock, log })
  const jobs = createJobs({ db, clock, log })
  defineSweeps(jobs, db, bus, options.eventRetentionDays ?? null)
  const actors = new ActorHost({ hostId, db, bus, clock, log, capacity: concurrency })
  const ws = new Gateway({ auth, bus, db, log, clock })
  const health = new Health({ clock, log })
  const shutdown = new Shutdown({ clock, log })
  const doctor = new Doctor({ clock })
  health.add('activations', () => actors.activations(), { required: false })
  shutdown.step('stop-claiming', 'actors', () => actors.stopClaiming())
  shutdown.step('close-sockets', 'ws', () => ws.close())
  shutdown.step('drain', 'actors', () => actors.stop(DRAIN_MS))
  // After the actors: a session that pauses in the drain still sends its timer.
  shutdown.step('release-leases', 'jobs', () => jobs.stop(JOBS_MS))
  shutdown.step('release-leases', 'bus', () => bus.stop())
  shutdown.step('close-pools', 'db', () => db.close())
  return { db, clock, log, auth, bus, jobs, actors, objects, ports: new Ports(), ws, health, shutdown, doctor }
}

/** Sets the parts going, once every room has registered what it handles. */
export async function startKernel(kernel: Pick<FullKernel, 'bus' | 'jobs' | 'actors'>): Promise<void> {
  await kernel.bus.start()
  await kernel.jobs.start()
  await scheduleSweeps(kernel.jobs)
  await kernel.actors.start()
}
