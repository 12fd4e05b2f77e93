// Attacks through capabilities, on a real app: its port `tools`, its database, its vault, a hostile host and zone.
import t from 'tap'
import { throughPort } from './corpus/index.ts'
import { Arena } from './support/arena.ts'
import { randomOf, seedOfRun, shuffled } from './support/random.ts'

const BUDGET_MS = 25_000 // on a slow machine fewer variants are run, and the comment says how many

const seed = seedOfRun()
t.comment(`seed ${seed}: again with --test-arg=--seed=${seed}`)
const only = process.argv.find((one) => one.startsWith('--class='))?.slice('--class='.length)
const random = randomOf(seed)

t.test('each is answered with its code, audited in its tenant, and reaches nobody else', async (t) => {
  const arena = await Arena.openApp()
  const all = throughPort
    .filter(({ id }) => only === undefined || id === Number(only))
    .flatMap((attack) => attack.variants.map((_, variant) => ({ attack, variant })))
  const began = performance.now()
  let ran = 0
  for (const [index, { attack, variant }] of shuffled(all, random).entries()) {
    if (performance.now() - began > BUDGET_MS) break
    const mode = { verified: index % 2 === 0 }
    const name = `${attack.id} ${attack.title}: ${attack.variants[variant]?.name} (${mode.verified ? 'JIT' : 'jitless'})`
    await t.test(name, async (t) => t.strictSame((await arena.alone(attack, variant, mode)).faults, []))
    ran++
  }
  t.comment(`${ran} of ${all.length} variants`)
  t.ok(ran > 0)

  const [attack] = shuffled(
    throughPort.filter(({ id }) => only === undefined || id === Number(only)),
    random
  )
  if (attack) {
    await t.test(`twenty at once beside twenty victims: ${attack.id} ${attack.title}`, async (t) => {
      const { faults, latencyMs } = await arena.crowd(attack, 0, 20, 20)
      t.strictSame(faults, [])
      t.ok(latencyMs.length >= 20)
    })
  }
  t.strictSame(await arena.close(), [], 'no process is left')
})
