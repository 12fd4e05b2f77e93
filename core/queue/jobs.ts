import { type Job as BossJob, type JobResult, PgBoss } from 'pg-boss'
import type { ZodType } from 'zod'
import { type Clock, systemClock } from '#core/clock.ts'
import { type Db, type DbLog, silentLog } from '#core/db/types.ts'
import { errorMessage } from '#core/errors.ts'
import { newId } from '#core/ids.ts'
import { scrub } from '#core/scrub.ts'
import { bossConnection, bossTransaction } from './jobs/connection.ts'
import { JobDataInvalid, JobNameTaken, JobsAlreadyStarted, JobsNotStarted, JobUnknown } from './jobs/errors.ts'
import { parkSuspended } from './jobs/park.ts'
import type { DeadLetter, Job, JobOptions, JobRun, Jobs } from './jobs/types.ts'

export type * from './jobs/types.ts'

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs
  }
}

export interface JobsOptions {
  db: Db
  clock?: Clock
  log?: DbLog
  /** How long a job waits when its wake-up was another host's. At least 500, the default. */
  pollMs?: number
}

interface Definition {
  name: string
  data: ZodType
  handler: (run: JobRun<unknown>) => Promise<unknown>
  options: JobOptions
}

const DEAD = 'dead_letter'
// A host that dies is noticed after this long (10 is pg-boss's minimum); its jobs run again elsewhere.
const HEARTBEAT_SECONDS = 10
// A timer nearer than this wakes its queue to the millisecond; later ones are found by the poll.
const NEAR_MS = 60_000

/** Background work, timers and cron of one process: pg-boss over the database of all. */
export function createJobs(options: JobsOptions): Jobs {
  const { db, clock = systemClock, log = silentLog, pollMs = 500 } = options
  const definitions = new Map<string, Definition>()
  const workers = new Map<string, string>()
  const connection = bossConnection(db)
  const boss = new PgBoss({
    db: connection,
    schema: 'pgboss',
    // The migration made the schema; the roles of run time can neither change it nor rebuild its indexes.
    migrate: false,
    createSchema: false,
    reindex: false,
    monitorVacuum: false,
    registerInstance: false,
    useListenNotify: false, // it would lengthen the poll to 30 s
    superviseIntervalSeconds: 5,
    monitorIntervalSeconds: 5,
    cronMonitorIntervalSeconds: 10,
    cronWorkerIntervalSeconds: 1
  })
  boss.on('error', (error) => log.warn({ err: error }, 'a queue had trouble'))
  boss.on('warning', (warning) => log.warn({ warning: warning.message }, 'a queue warns'))
  let state: 'new' | 'running' | 'stopped' = 'new'

  const known = (job: Job<unknown> | string): Definition => {
    const name = typeof job === 'string' ? job : job.name
    const definition = definitions.get(name)
    if (!definition) throw new JobUnknown(name)
    return definition
  }
  const wake = (name: string) => {
    const worker = workers.get(name)
    if (worker !== undefined && state === 'running') boss.notifyWorker(worker)
  }

  return {
    define(name, data, handler, jobOptions = {}) {
      if (state !== 'new') throw new JobsAlreadyStarted(name)
      if (definitions.has(name) || name === DEAD) throw new JobNameTaken(name)
      // `data` has passed the schema of T before the handler sees it
      definitions.set(name, { name, data, handler: (run) => handler(run as JobRun<never>), options: jobOptions })
      return { name, data }
    },

    async send(tx, job, data, { startAfter, singletonKey, priority } = {}) {
      const definition = known(job)
      if (state !== 'running') throw new JobsNotStarted()
      const checked = definition.data.safeParse(data)
      if (!checked.success) throw new JobDataInvalid(definition.name, checked.error)
      const at = typeof startAfter === 'number' ? `${startAfter} ms` : startAfter
      const id = await boss.send(definition.name, checked.data as object, {
        db: bossTransaction(tx),
        // The queue keeps one waiting job per key; a job without one gets a key of its own. A key is its tenant's (sql/0004).
        singletonKey: `${data.tenantId}:${singletonKey ?? newId()}`,
        ...(at === undefined ? {} : { startAfter: at }),
        ...(priority === undefined ? {} : { priority })
      })
      const waitMs = typeof startAfter === 'number' ? startAfter : startAfter ? startAfter.getTime() - clock.now() : 0
      db.afterCommit(tx, () => {
        if (waitMs <= 0) wake(definition.name)
        else if (waitMs < NEAR_MS) clock.after(waitMs + 1, () => wake(definition.name))
      })
      return id
    },

    async cancel(tx, job, id) {
      const outcome: object = await boss.cancel(known(job).name, id, { db: bossTransaction(tx) })
      return 'affected' in outcome && outcome.affected === 1 // its type does not say what it holds
    },

    async schedule(job, cron, timezone = 'UTC', data = {}) {
      await boss.schedule(known(job).name, cron, data, { tz: timezone })
    },

    async unschedule(job) {
      await boss.unschedule(known(job).name)
    },

    async deadLetters(tx, limit) {
      const rows = await tx<DeadLetter[]>`
        select id, source_name as job, data, source_output as error, created_on as at from pgboss.job_common
        where name = ${DEAD} order by created_on desc limit ${limit}`
      return [...rows]
    },

    async start() {
      await boss.start()
      await boss.createQueue(DEAD, { retentionSeconds: 30 * 86_400 })
      // A dead letter's queue must be there before the queue that names it.
      for (const { name, options: o } of definitions.values()) if (!o.deadLetter) await makeQueue(boss, name, o)
      for (const { name, options: o } of definitions.values()) if (o.deadLetter) await makeQueue(boss, name, o)
      state = 'running'
      for (const definition of definitions.values()) {
        const batchSize = definition.options.batch ?? 8
        const how = {
          pollingIntervalSeconds: pollMs / 1000,
          batchSize,
          burstWhenBatchFull: true,
          perJobResults: true
        } as const
        const worker = await boss.work(definition.name, how, async (batch) => {
          const parked = await db.system((tx) =>
            parkSuspended(
              tx,
              batch.map(({ id }) => id)
            )
          )
          // What is said of a parked job is not recorded: it is not active any more.
          return await Promise.all(
            batch.map((job) =>
              parked.has(job.id) ? ({ id: job.id, status: 'completed' } as const) : runOne(definition, job, log)
            )
          )
        })
        workers.set(definition.name, worker)
      }
    },

    async stop(timeoutMs = 20_000) {
      if (state === 'running') {
        state = 'stopped'
        await boss.stop({ graceful: true, timeout: timeoutMs, close: false })
      }
      state = 'stopped'
      connection.close()
    }
  }
}

async function makeQueue(boss: PgBoss, name: string, options: JobOptions): Promise<void> {
  const queue = {
    retryLimit: options.retryLimit ?? 4,
    retryDelay: options.retryDelaySeconds ?? 1,
    retryBackoff: options.backoff ?? true,
    ...((options.backoff ?? true) ? { retryDelayMax: options.retryDelayMaxSeconds ?? 900 } : {}),
    expireInSeconds: options.expireInSeconds ?? 300,
    heartbeatSeconds: HEARTBEAT_SECONDS,
    deadLetter: options.deadLetter ?? DEAD
  }
  await boss.createQueue(name, { ...queue, policy: 'short' })
  await boss.updateQueue(name, queue) // of an older version of this job
}

async function runOne(definition: Definition, job: BossJob<unknown>, log: DbLog): Promise<JobResult> {
  try {
    const data = definition.data.safeParse(job.data)
    // No run will make it fit: it goes to the dead letters at once.
    if (!data.success) return { id: job.id, status: 'deadletter', output: { message: scrub(errorMessage(data.error)) } }
    await definition.handler({ id: job.id, data: data.data, attempt: job.retryCount + 1, signal: job.signal })
    return { id: job.id, status: 'completed' }
  } catch (error) {
    log.warn({ err: error, job: definition.name, id: job.id, attempt: job.retryCount + 1 }, 'a job failed')
    return { id: job.id, status: 'failed', output: { message: scrub(errorMessage(error)).slice(0, 2000) } }
  }
}
