import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { AppError, defineError, errorCatalogue } from '#core/errors.ts'
import { isId, newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

t.test('an error has a stable code, a status, details and its cause', async (t) => {
  const cause = new Error('why')
  const Full = defineError('TEST_BOX_FULL', 409, (size: number) => ({
    message: `full at ${size}`,
    details: { size },
    retryAfterMs: 50,
    cause
  }))
  const error = new Full(3)
  t.ok(error instanceof AppError && error instanceof Full)
  t.match(error, {
    code: 'TEST_BOX_FULL',
    status: 409,
    message: 'full at 3',
    details: { size: 3 },
    retryAfterMs: 50,
    cause
  })
  t.equal(Full.code, 'TEST_BOX_FULL')
  t.ok(errorCatalogue().some(({ code, status }) => code === 'TEST_BOX_FULL' && status === 409))
  t.throws(() => defineError('TEST_BOX_FULL', 400, () => ''), /declared twice/)
  t.throws(() => defineError('full', 400, () => ''), /not of the form/)
})

t.test('ids are UUIDv7 and rise inside one process', async (t) => {
  const ids = Array.from({ length: 5000 }, newId)
  t.ok(ids.every(isId))
  t.strictSame([...ids].sort(), ids)
  t.notOk(isId('no') || isId(ids[0]?.toUpperCase()) || isId(7))
})

t.test('must names what is missing', async (t) => {
  t.equal(must(0, 'zero'), 0)
  t.throws(() => must(null, 'the lease'), { code: 'INTERNAL_ERROR', message: 'the lease is missing' })
})

for (const [name, clock] of Object.entries({ system: systemClock, fake: new FakeClock() })) {
  const advance = async (ms: number) => (clock instanceof FakeClock ? await clock.advance(ms) : undefined)

  t.test(`the ${name} clock sleeps, can be interrupted, and cancels`, async (t) => {
    // The system clock's timers are unref'd: alone they would not keep the test's process alive.
    const alive = setInterval(() => {}, 1000)
    t.teardown(() => clearInterval(alive))
    const started = clock.monotonic()
    const slept = clock.sleep(20)
    await advance(20)
    await slept
    t.ok(clock.monotonic() - started >= 19)

    const stop = new AbortController()
    const interrupted = clock.sleep(1e9, stop.signal)
    stop.abort(new Error('stop'))
    await t.rejects(interrupted, /stop/)
    await t.rejects(clock.sleep(1, stop.signal), /stop/)

    let fired = 0
    clock.after(1, () => fired++).cancel()
    const far = clock.after(2 ** 31 + 5, () => fired++) // beyond what setTimeout can hold
    await new Promise<void>((resolve) => {
      const ticks = clock.every(2, () => {
        if (++fired < 3) return
        ticks.cancel()
        resolve()
      })
      advance(6).catch(t.threw)
    })
    far.cancel()
    t.equal(fired, 3)
  })
}
