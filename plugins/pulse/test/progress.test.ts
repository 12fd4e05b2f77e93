import fc from 'fast-check'
import t from 'tap'
import { FakeClock } from '#test/support/fake-clock.ts'
import { Progress } from '../progress.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('whatever steps report: percentages rise, one a second at most, none after the end of the step', async (t) => {
  const report = fc.tuple(fc.oneof(fc.double(), fc.constant(undefined)), fc.integer({ min: 0, max: 3000 }))
  const steps = fc.array(fc.array(report, { maxLength: 12 }), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(steps, async (session) => {
      const clock = new FakeClock()
      const told: { at: number; pct: number }[] = []
      for (const [done, reports] of session.entries()) {
        let over = false
        const announce = async (pct: number) => {
          if (over) throw new Error('after the end')
          told.push({ at: clock.monotonic(), pct })
        }
        const progress = new Progress({ clock, done, steps: session.length, announce })
        for (const [fraction, ms] of reports) {
          progress.report(fraction)
          await clock.advance(ms)
          await turn()
        }
        progress.report(1)
        await progress.end()
        over = true
        await clock.advance(5000)
        const atEnd = Math.floor((100 * (done + 1)) / session.length)
        if ((told.at(-1)?.pct ?? -1) >= atEnd) throw new Error('as far as the end of its step, before it')
      }
      for (const [index, { at, pct }] of told.entries()) {
        const before = told[index - 1]
        if (before && (pct <= before.pct || at - before.at < 1000)) throw new Error(JSON.stringify(told))
        if (!Number.isInteger(pct) || pct < 0 || pct > 100) throw new Error(String(pct))
      }
    }),
    { numRuns: 100 }
  )
  t.pass('held')
})

t.test('a step of less than a second announces nothing', async (t) => {
  const clock = new FakeClock()
  const told: number[] = []
  const progress = new Progress({ clock, done: 1, steps: 4, announce: async (pct) => void told.push(pct) })
  progress.report(0.5)
  await clock.advance(999)
  await progress.end()
  t.strictSame(told, [])
  const next = new Progress({ clock, done: 1, steps: 4, announce: async (pct) => void told.push(pct) })
  for (const fraction of [0.4, 0.8, 0.2]) next.report(fraction)
  await clock.advance(1000)
  t.strictSame(told, [45], 'the best of what was said')
  next.report(1)
  await clock.advance(1000)
  t.strictSame(told, [45, 49], 'the step is not over')
})
