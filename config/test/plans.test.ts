import { readFileSync } from 'node:fs'
import t from 'tap'
import { PlanTable } from '#core/tenants/plans.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

t.test('the plan table is the given one and fits its schema', async (t) => {
  t.strictSame(JSON.parse(read('../plans.json')), JSON.parse(read('../../docs/spec/plans.json')))
  const { plans } = PlanTable.parse(JSON.parse(read('../plans.json')))
  t.equal(plans.free?.concurrentSessions, 2)
  t.equal(plans.enterprise?.concurrentSessions, null)
})
