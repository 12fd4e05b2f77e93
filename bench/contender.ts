// Every contender is a process of its own, so that neither's timers, pools nor garbage are measured with the other. The
// runner asks for one measurement at a time; whoever is not asked is idle.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'

/** Measurements by name: `size` is how much work one round does, the answer is per second, or milliseconds. */
export type Measures = Readonly<Record<string, (size: number) => Promise<number | number[]>>>

interface Ask {
  readonly measure: string
  readonly size: number
}
type Answer = { readonly value: number | number[] } | { readonly error: string }

/** The runner's side of a contender. */
export interface Contender {
  measure(name: string, size: number): Promise<number | number[]>
  end(): Promise<void>
}

/** The contender's side: sets up with the database URL of its argument, says so, and answers until the runner goes. */
export async function contend(setUp: (databaseUrl: string) => Promise<Measures>): Promise<void> {
  const measures = await setUp(process.argv[2] ?? '')
  process.on('disconnect', () => process.exit())
  process.on('message', async ({ measure, size }: Ask) => {
    const answer: Answer = await (async () => ({ value: (await measures[measure]?.(size)) ?? 0 }))().catch(
      (error: unknown) => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    )
    process.send?.(answer)
  })
  process.send?.('ready')
}

/** Starts a contender on a database of its own and waits until it is set up. */
export async function enter(file: string, databaseUrl: string, execArgv: string[] = []): Promise<Contender> {
  const child = fork(new URL(file, import.meta.url), [databaseUrl], { execArgv: ['--no-deprecation', ...execArgv] })
  await answerOf(child, file)
  return {
    async measure(measure, size) {
      const coming = answerOf(child, file)
      child.send({ measure, size })
      const answer = (await coming) as Answer
      if ('error' in answer) throw new Error(`${file} ${measure}: ${answer.error}`)
      return answer.value
    },
    async end() {
      if (child.exitCode !== null) return
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    }
  }
}

async function answerOf(child: ChildProcess, file: string): Promise<unknown> {
  const patience = new AbortController()
  const gone = once(child, 'exit', { signal: patience.signal }).then(() => {
    throw new Error(`${file} ended before it answered`)
  })
  gone.catch(() => {})
  try {
    const [answer] = await Promise.race([once(child, 'message', { signal: patience.signal }), gone])
    return answer
  } finally {
    patience.abort()
  }
}

/** Does `work` `total` times, `callers` at once. @returns milliseconds */
export async function timed(callers: number, total: number, work: (n: number) => Promise<unknown>): Promise<number> {
  const started = performance.now()
  let next = 0
  const caller = async () => {
    while (next < total) await work(next++)
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return performance.now() - started
}
