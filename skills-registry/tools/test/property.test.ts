import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { intersect } from '#skills-registry/tools/permissions.ts'
import { type Limit, play } from './support/play.ts'
import { Cases } from './support/programs.ts'

const RUNS = 10_000
const seed = Math.trunc(Math.random() * 2 ** 31)

t.test(
  'no manifest, grant and chain of calls reaches what one of them was not granted, or misses what all were',
  async (t) => {
    const total = { reached: 0, refused: 0, deepest: 0 }
    const property = fc.asyncProperty(Cases, async (one) => {
      const { reached, refused, deepest } = await play(one)
      total.reached += reached
      total.refused += refused
      total.deepest = Math.max(total.deepest, deepest)
    })
    await fc.assert(property, { numRuns: RUNS, seed })
    t.comment(`seed ${seed}: ${RUNS} programs reached ${total.reached} things and were refused ${total.refused}`)
    // A run that never gets anywhere proves nothing.
    t.ok(total.reached > RUNS && total.refused > RUNS, 'both ends are met often')
    t.equal(total.deepest, 8)
  }
)

const union = <T>(a: readonly T[] = [], b: readonly T[] = []) => [...new Set([...a, ...b])]
const mutants: Record<string, Limit> = {
  'the called one has its own grant': (_a, b) => b,
  'the called one has its caller’s': (a) => a,
  'methods of both': (a, b) => ({
    ...intersect(a, b),
    fetch: (intersect(a, b).fetch ?? []).map((rule) => ({
      ...rule,
      methods: union(rule.methods, b.fetch?.find(({ host }) => host === rule.host)?.methods)
    }))
  }),
  'the secret of the called one': (a, b) => ({
    ...intersect(a, b),
    fetch: intersect(a, b).fetch?.map((rule) => {
      const { secret } = b.fetch?.find(({ host }) => host === rule.host) ?? {}
      return secret === undefined ? rule : { ...rule, secret }
    })
  }),
  'the secret of the caller': (a, b) => ({
    ...intersect(a, b),
    fetch: intersect(a, b).fetch?.map((rule) => {
      const { secret } = a.fetch?.find(({ host }) => host === rule.host) ?? {}
      return secret === undefined ? rule : { ...rule, secret }
    })
  }),
  'the stronger storage': (a, b) => ({ ...intersect(a, b), storage: a.storage === 'write' ? a.storage : b.storage }),
  'files of the caller': (a, b) => ({ ...intersect(a, b), files: a.files }),
  'events of both': (a, b) => ({ ...intersect(a, b), events: union(a.events, b.events) }),
  'names of secrets of the called one': (a, b) => ({ ...intersect(a, b), secrets: b.secrets }),
  'the model of the called one': (a, b) => ({ ...intersect(a, b), model: b.model }),
  'tools of the called one': (a, b) => ({ ...intersect(a, b), tools: b.tools }),
  'no tools at all': (a, b) => ({ ...intersect(a, b), tools: [] }),
  'no secret at all': (a, b) => ({
    ...intersect(a, b),
    fetch: intersect(a, b).fetch?.map(({ host, methods }) => ({ host, methods }))
  })
}

t.test('each planted mistake in the intersection is found', async (t) => {
  for (const [name, limit] of Object.entries(mutants)) {
    const property = fc.asyncProperty(Cases, async (one) => void (await play(one, limit)))
    const { failed, numRuns } = await fc.check(property, { numRuns: RUNS, seed, endOnFailure: true })
    t.ok(failed, `${name}: after ${numRuns} programs`)
  }
})

t.test('the intersection is the same whichever way round, twice over and in any order', (t) => {
  const three = Cases.map(({ manifests }) => manifests as [Permissions, Permissions, Permissions])
  const property = fc.property(three, ([a, b, c]) => {
    assert.deepEqual(sorted(intersect(a, b)), sorted(intersect(b, a)))
    assert.deepEqual(sorted(intersect(intersect(a, b), c)), sorted(intersect(a, intersect(b, c))))
    assert.deepEqual(sorted(intersect(intersect(a, a), a)), sorted(intersect(a, a)))
  })
  fc.assert(property, { numRuns: 1000, seed })
  t.end()
})

function sorted(permissions: Permissions): object {
  const { fetch = [], ...rest } = permissions
  const lists = Object.entries(rest).map(([part, given]) => [part, Array.isArray(given) ? [...given].sort() : given])
  return { ...Object.fromEntries(lists), fetch: fetch.map((rule) => JSON.stringify(rule)).sort() }
}
