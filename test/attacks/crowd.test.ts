// Attacks twenty at once beside twenty victims of other tenants; a selection by seed. The whole: `npm run test:attacks`.
import t from 'tap'
import { inSandbox } from './corpus/index.ts'
import { Arena } from './support/arena.ts'
import { percentile } from './support/percentile.ts'
import { randomOf, seedOfRun, shuffled } from './support/random.ts'

const BUDGET_MS = 20_000

const seed = seedOfRun()
t.comment(`seed ${seed}: again with --test-arg=--seed=${seed}`)
const classes = shuffled(inSandbox, randomOf(seed))

t.test('twenty attackers at once, and each of twenty victims keeps its isolate through all of its calls', async (t) => {
  const arena = await Arena.open({ maxCells: 40 })
  const calm = await arena.latency(20, 5)
  const began = performance.now()
  let ran = 0
  for (const attack of classes) {
    if (ran > 0 && performance.now() - began > BUDGET_MS) break
    await t.test(`${attack.id} ${attack.title}`, async (t) => {
      const { faults, latencyMs, outcome } = await arena.crowd(attack, 0, 20, 20)
      t.strictSame(faults, [])
      t.ok(latencyMs.length >= 20)
      t.comment(`${outcome}; victims p99 ${percentile(latencyMs, 99)} ms, calm ${percentile(calm, 99)} ms`)
    })
    ran++
  }
  t.comment(`${ran} of ${classes.length} classes`)
  t.strictSame(await arena.close(), [], 'no process is left')
})
