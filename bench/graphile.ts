// graphile-worker with its defaults: no local queue, no batched completion.
import { systemClock } from '#core/clock.ts'
import { contend, type Measures, timed } from './contender.ts'
import { peer } from './peer.ts'

interface Worker {
  stop(): Promise<void>
}
interface Graphile {
  run(options: Record<string, unknown>): Promise<Worker>
  makeWorkerUtils(options: Record<string, unknown>): Promise<{
    migrate(): Promise<void>
    addJob(name: string, payload: object): Promise<unknown>
    addJobs(jobs: { identifier: string; payload: object }[]): Promise<unknown>
  }>
  Logger: new (make: () => () => void) => unknown
}

const CONCURRENCY = 24
const CALLERS = 16

await contend(setUp)

async function setUp(connectionString: string): Promise<Measures> {
  const { run, makeWorkerUtils, Logger } = await peer<Graphile>('graphile-worker')
  const logger = new Logger(() => () => {})
  const utils = await makeWorkerUtils({ connectionString, logger })
  await utils.migrate()
  let done = 0
  let started: (() => void) | undefined
  const taskList = {
    noop: async () => {
      done++
      started?.()
    }
  }
  const work = () =>
    run({
      connectionString,
      taskList,
      concurrency: CONCURRENCY,
      maxPoolSize: CONCURRENCY,
      logger,
      noHandleSignals: true
    })
  const finished = async (size: number) => {
    while (done < size) await systemClock.sleep(1)
  }
  return {
    // Jobs that wait already, from the start of the workers to the last job.
    run: async (size) => {
      done = 0
      const job = { identifier: 'noop', payload: {} }
      await utils.addJobs(Array.from({ length: size }, () => job))
      const begun = performance.now()
      const worker = await work()
      await finished(size)
      const ms = performance.now() - begun
      await worker.stop()
      return (size * 1000) / ms
    },
    // Enqueued one by one while the workers run, as our sessions are admitted.
    one: async (size) => {
      done = 0
      const worker = await work()
      const begun = performance.now()
      await timed(CALLERS, size, () => utils.addJob('noop', {}))
      await finished(size)
      const ms = performance.now() - begun
      await worker.stop()
      return (size * 1000) / ms
    },
    latency: async (size) => {
      const worker = await work()
      const all: number[] = []
      for (let n = 0; n < size; n++) {
        const running = new Promise<number>((resolve) => {
          started = () => resolve(performance.now())
        })
        const begun = performance.now()
        await utils.addJob('noop', {})
        all.push((await running) - begun)
        await systemClock.sleep(5)
      }
      started = undefined
      await worker.stop()
      return all
    }
  }
}
