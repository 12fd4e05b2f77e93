import t from 'tap'
import { Doctor } from '#core/doctor/doctor.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

t.test(
  'a report has a line for each check, in the order in which they were added, and is ok when none is red',
  async (t) => {
    const doctor = new Doctor({ clock: new FakeClock() })
    doctor.add('shop', { name: 'door', title: 'the door is shut', run: () => ({ ok: true, detail: 'it is' }) })
    doctor.add('shop', {
      name: 'till',
      title: 'the till is full',
      run: async () => ({ ok: 'unknown', detail: 'no till' })
    })
    const report = must(await doctor.run('shop'), 'a report')
    t.match(report, { group: 'shop', ok: true })
    t.strictSame(
      report.checks.map(({ name, ok }) => [name, ok]),
      [
        ['door', true],
        ['till', 'unknown']
      ]
    )
    doctor.add('shop', { name: 'cat', title: 'a cat', run: () => ({ ok: false, detail: 'gone', fix: 'buy one' }) })
    const worse = must(await doctor.run('shop'), 'a report')
    t.equal(worse.ok, false)
    t.match(worse.checks[2], { ok: false, detail: 'gone', fix: 'buy one' })
    t.strictSame(doctor.groups(), [{ group: 'shop', checks: ['door', 'till', 'cat'] }])
  }
)

t.test('a check that throws is a red line with its reason, without secrets and on one line', async (t) => {
  const secret = new Secret('a-word-that-nobody-may-see')
  const doctor = new Doctor({ clock: new FakeClock() })
  doctor.add('shop', {
    name: 'door',
    title: 'the door is shut',
    run() {
      throw new Error(`no door\n  at postgres://a:${secret.reveal()}@host`)
    }
  })
  const [line] = must(await doctor.run('shop'), 'a report').checks
  t.match(line, { ok: false, detail: 'the check could not be made: no door at postgres://a:[secret]@host' })
})

t.test('a check that does not answer is red after its time; the others are not held up', async (t) => {
  const clock = new FakeClock()
  const doctor = new Doctor({ clock })
  doctor.add('shop', { name: 'never', title: 'x', limitMs: 50, run: () => new Promise(() => {}) })
  doctor.add('shop', { name: 'now', title: 'x', run: () => ({ ok: true, detail: 'yes' }) })
  const running = must(doctor.run('shop'), 'a report')
  t.equal(doctor.run('shop'), running, 'who asks meanwhile gets the same report')
  await clock.advance(50)
  t.match((await running).checks, [{ name: 'never', ok: false, detail: 'no answer in 50 ms' }, { ok: true }])
})

t.test('a name may be given once in a group; an unknown group has no report', async (t) => {
  const doctor = new Doctor({ clock: new FakeClock() })
  const check = { name: 'door', title: 'x', run: () => ({ ok: true, detail: '' }) }
  doctor.add('shop', check)
  t.throws(() => doctor.add('shop', check), /shop has door twice/)
  t.equal(doctor.run('hotel'), undefined)
})
