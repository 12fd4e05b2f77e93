// A DBOS workflow of one step, as its users write it: direct calls, no queue.
import { contend, type Measures, timed } from './contender.ts'
import { peer } from './peer.ts'

interface Dbos {
  setConfig(config: Record<string, unknown>): void
  launch(): Promise<void>
  registerWorkflow<A extends unknown[], R>(
    work: (...args: A) => Promise<R>,
    options: { name: string }
  ): (...args: A) => Promise<R>
  startWorkflow<A extends unknown[], R>(
    workflow: (...args: A) => Promise<R>
  ): (...args: A) => Promise<{ getResult(): Promise<R> }>
  runStep<R>(work: () => Promise<R>, options: { name: string }): Promise<R>
}

const CALLERS = 16

await contend(setUp)

async function setUp(url: string): Promise<Measures> {
  const { DBOS } = await peer<{ DBOS: Dbos }>('@dbos-inc/dbos-sdk')
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, systemDatabasePoolSize: 16, logLevel: 'error' })
  const workflow = DBOS.registerWorkflow(async () => await DBOS.runStep(async () => null, { name: 's' }), {
    name: 'one'
  })
  await DBOS.launch()
  return {
    one: async (size) => (size * 1000) / (await timed(CALLERS, size, () => workflow())),
    // Callers that do not wait for the end of one before they start the next, as ours do not.
    started: async (size) => {
      const begun = performance.now()
      const ends: Promise<unknown>[] = []
      await timed(CALLERS, size, async () => {
        ends.push((await DBOS.startWorkflow(workflow)()).getResult())
      })
      await Promise.all(ends)
      return (size * 1000) / (performance.now() - begun)
    }
  }
}
