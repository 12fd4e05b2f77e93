import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

type Counts = Readonly<Record<string, number>>

/** What one file of the suite leaves for the proof. */
export interface Part {
  part: string
  counts: Counts
  /** Lines of Markdown. */
  detail: string[]
}

/** The argument `--name=value` of this test file; `npm run test:tenancy` gives them. */
export function argument(name: string): string | undefined {
  const start = `--${name}=`
  return process.argv.find((given) => given.startsWith(start))?.slice(start.length)
}

/** Prints what was counted and, where a proof is wanted, leaves it for docs/proofs/tenancy.md. */
export function count(t: Test, part: string, counts: Counts, detail: string[] = []): void {
  t.comment(
    `${part}: ${Object.entries(counts)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}`
  )
  const dir = argument('proof')
  if (dir === undefined) return
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, `${part}.json`), JSON.stringify({ part, counts, detail } satisfies Part))
}
