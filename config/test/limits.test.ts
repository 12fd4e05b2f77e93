import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadLimits } from '#config/limits.ts'
import { planTable } from '#config/plugins.ts'
import { AppError } from '#core/errors.ts'

t.test('every plan has its limits, and none of another name has', async (t) => {
  const { plans } = loadLimits(null)
  t.strictSame(Object.keys(plans).sort(), Object.keys(planTable.plans).sort())
})

t.test("an operator's own table replaces ours; what is wrong in it is named", async (t) => {
  const ours = JSON.parse(readFileSync(new URL('../limits.json', import.meta.url), 'utf8'))
  const own = { ...ours, address: { ...ours.address, read: 7 } }
  const { plans, ...rest } = own
  const dir = t.testdir({
    'own.json': JSON.stringify(own),
    'bad.json': JSON.stringify({ ...rest, plans: { free: { ...plans.free, read: 0 } }, more: 1 }),
    'text.json': '{'
  })
  t.equal(loadLimits(join(dir, 'own.json')).address.read, 7)
  const problems = (path: string) => {
    try {
      loadLimits(path)
    } catch (error) {
      if (error instanceof AppError) return error.details?.problems
      throw error
    }
    return null
  }
  t.match(problems(join(dir, 'bad.json')), [/RATE_LIMITS: .*bad\.json \/plans\/free\/read: /, /\/more: unknown key/])
  t.match(problems(join(dir, 'text.json')), [/^RATE_LIMITS: /])
  t.match(problems(join(dir, 'none.json')), [/^RATE_LIMITS: ENOENT/])
})
