import t from 'tap'
import { Wakes } from '../cell/wakes.ts'

/** `came` resolves when something came true. */
function bookkeeping() {
  let tell = () => undefined as unknown
  const wakes = new Wakes(() => tell())
  const came = () => new Promise<void>((resolve) => (tell = () => resolve()))
  return { wakes, came }
}

t.test('by the clock: in the order in which things came true, without what was cleared', async (t) => {
  const { wakes, came } = bookkeeping()
  wakes.begin(undefined)
  t.equal(wakes.next(), undefined)
  for (const n of [1, 2]) wakes.asked(n)
  wakes.answered(2, true, '"two"')
  wakes.answered(2, true, '"again"')
  wakes.answered(7, true, '"never asked"')
  wakes.setTimer(1, 1)
  wakes.setTimer(2, 1)
  await came()
  wakes.answered(1, false, '{}')
  wakes.clearTimer(1)
  const taken = []
  for (let next = wakes.next(); next !== undefined; next = wakes.next()) taken.push(next)
  t.strictSame(
    taken.filter((wake) => wake !== -2),
    [2, 1]
  )
  t.strictSame(
    [wakes.answer(2), wakes.answer(1)],
    [
      { ok: true, text: '"two"' },
      { ok: false, text: '{}' }
    ]
  )
  wakes.end()
  wakes.begin(undefined)
  t.equal(wakes.next(), undefined, 'nothing of the call before')
})

t.test('a timer is one of the call: 1 to 1000, whole', (t) => {
  const { wakes } = bookkeeping()
  wakes.begin({ wakes: [] })
  t.strictSame(
    [0, -1, 1001, 1.5, Number.NaN, 1, 1000].map((n) => wakes.setTimer(n, 1)),
    [false, false, false, false, false, true, true]
  )
  t.end()
})

t.test('by a recording: in its order, whatever came first, and it says where that ends', (t) => {
  const { wakes } = bookkeeping()
  wakes.begin({ wakes: [2, -1, 1, -2] })
  for (const n of [1, 2]) wakes.asked(n)
  wakes.setTimer(1, 1e9)
  wakes.answered(1, true, '1')
  t.equal(wakes.next(), undefined, 'host call 2 is under way')
  wakes.answered(2, true, '2')
  t.strictSame([wakes.next(), wakes.answer(2).text], [2, '2'])
  t.equal(wakes.next(), -1, 'without waiting')
  t.equal(wakes.next(), 1)
  t.equal(wakes.next(), 'wake 4 of 4 is timer 2, the tool waits for host call 1')
  wakes.answer(1)
  wakes.setTimer(2, 1)
  t.equal(wakes.next(), -2)
  t.equal(wakes.next(), 'the recording ends after 4 wakes, the tool still waits for nothing that could come')
  wakes.end()
  wakes.begin({ wakes: [3] })
  wakes.asked(1)
  t.equal(wakes.next(), 'wake 1 of 1 is the answer of host call 3, the tool waits for host call 1')
  t.end()
})

t.test('when the known part of an open recording is over, the clock goes on', async (t) => {
  const { wakes, came } = bookkeeping()
  wakes.begin({ wakes: [-2, 1], hostCalls: 2 })
  for (const n of [1, 2]) wakes.setTimer(n, n)
  for (const n of [1, 2]) wakes.asked(n)
  wakes.answered(2, true, '2')
  t.equal(wakes.next(), -2)
  t.equal(wakes.next(), undefined)
  wakes.answered(1, true, '1')
  t.equal(wakes.next(), 1)
  wakes.answer(1)
  t.equal(wakes.next(), 2, 'it came meanwhile')
  wakes.answer(2)
  const came1 = came()
  t.equal(wakes.next(), undefined)
  await came1
  t.equal(wakes.next(), -1)
  wakes.end()
  wakes.begin({ wakes: [1], hostCalls: 2 })
  wakes.asked(1)
  wakes.answered(1, true, '1')
  t.equal(wakes.next(), 1)
  t.equal(wakes.next(), 'host call 2 is not made')
})
