// The same tool and the same input for everybody: 1 KB of JSON in, the same and a sum out.
export const HANDLER =
  'export function run(input) { let sum = 0; for (const n of input.numbers) sum += n; return { ...input, sum } }'
export const INPUT = JSON.stringify({ numbers: Array.from({ length: 150 }, (_, i) => i * 7), note: 'x'.repeat(400) })

/** The handler as a script that leaves `plain`, JSON text to JSON text, in the global. */
export const SCRIPT = `${HANDLER.replace('export ', '')}; globalThis.plain = (text) => JSON.stringify(run(JSON.parse(text)))`

const SUM = (150 * 149 * 7) / 2

/** A contender that is fast because it does not do the work is none. */
export function verify(output: string): void {
  if ((JSON.parse(output) as { sum?: number }).sum !== SUM)
    throw new Error(`a contender answered ${output.slice(0, 100)}`)
}

/** How often `once` can be done in a second by `concurrency` callers. */
export async function perSecond(concurrency: number, ms: number, once: () => unknown): Promise<number> {
  const started = performance.now()
  let done = 0
  const work = async () => {
    while (performance.now() - started < ms) {
      await once()
      done++
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  return (done * 1000) / (performance.now() - started)
}
