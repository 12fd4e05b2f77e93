// A selection of the attack corpus, one after the other. The whole: `npm run test:attacks`.
import t from 'tap'
import { corpus, inSandbox } from './corpus/index.ts'
import { Arena } from './support/arena.ts'
import { quiet } from './support/oracle.ts'
import { randomOf, seedOfRun, shuffled } from './support/random.ts'

const SELECTED = 36
const BUDGET_MS = 25_000 // on a slow machine fewer are run, and the comment says how many

const seed = seedOfRun()
const random = randomOf(seed)
t.comment(`seed ${seed}: again with --test-arg=--seed=${seed}`)

t.test('the corpus is the 66 classes, each with variants', async (t) => {
  t.strictSame(
    corpus.map(({ id }) => id),
    Array.from({ length: 66 }, (_, i) => i + 1)
  )
  for (const { id, variants } of corpus) t.ok(variants.length > 0, `${id}`)
})

const all = inSandbox.flatMap((attack) => attack.variants.map((_, variant) => ({ attack, variant })))
const selected = shuffled(all, random).slice(0, SELECTED)
for (const isolation of [{}, { namespaces: false, jail: false }]) {
  const place = 'jail' in isolation ? 'without namespaces' : 'all layers'
  t.test(place, async (t) => {
    const arena = await Arena.open({ isolation })
    const began = performance.now()
    let ran = 0
    for (const [index, { attack, variant }] of selected.entries()) {
      // Half of the selection each, and half of that jitless.
      if (index % 2 === Number('jail' in isolation)) continue
      if (performance.now() - began > BUDGET_MS / 2) break
      const mode = { verified: index % 4 < 2, warmed: index % 8 < 4 }
      const told = `${mode.verified ? 'JIT' : 'jitless'}${mode.warmed ? ', after quick calls' : ''}`
      const name = `${attack.id} ${attack.title}: ${attack.variants[variant]?.name} (${told})`
      await t.test(name, async (t) => t.strictSame((await arena.alone(attack, variant, mode)).faults, []))
      ran++
    }
    t.comment(`${ran} of ${all.length} variants`)
    t.strictSame(await arena.close(), [], 'no process is left')
  })
}

t.test('the oracle sees what it is there for', async (t) => {
  const arena = await Arena.open()
  const loop = corpus.find(({ id }) => id === 28)
  if (!loop) throw new Error('class 28 is gone')
  const wrong = { ...loop, variants: loop.variants.map((one) => ({ ...one, expect: ['OK' as const] })) }
  const { faults } = await arena.alone(wrong, 0, { verified: true })
  t.match(faults, [/^SANDBOX_TIMEOUT instead of OK/])
  let over = false
  const slow = arena.launch(loop, 0, { verified: true }).finally(() => {
    over = true
  })
  let seen: string | undefined
  while (!over && !seen) seen = await quiet(arena.pid, 0)
  t.match(seen, /goes on/, 'a thread that works is seen while it works')
  await slow
  t.equal(await quiet(arena.pid), undefined)
  await arena.close()
})
