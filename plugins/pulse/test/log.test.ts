import t from 'tap'
import { FakeClock } from '#test/support/fake-clock.ts'
import { CallLog, LOG_MAX, type LogLine } from '../log.ts'

function callLog(left: { lines: number; bytes: number } = LOG_MAX, failures = 0) {
  const clock = new FakeClock()
  const written: LogLine[][] = []
  let toFail = failures
  const log = new CallLog({
    clock,
    place: { step: 'a', undo: false, attempt: 1 },
    left,
    async write(lines) {
      if (toFail-- > 0) throw new Error('the database is away')
      written.push([...lines])
    },
    failed() {}
  })
  return { clock, log, written }
}
const texts = (lines: readonly LogLine[]) => lines.map(({ level, message }) => `${level} ${message}`)
const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('lines are written every half second, or a hundred at once; the last ones are left to the commit', async (t) => {
  const { clock, log, written } = callLog()
  log.add('info', 'one')
  log.add('warn', 'two')
  t.strictSame(written, [])
  await clock.advance(500)
  await turn()
  t.strictSame(written.map(texts), [['info one', 'warn two']])
  for (let n = 0; n < 100; n += 1) log.add('debug', `line ${n}`)
  await turn()
  t.equal(written[1]?.length, 100)
  log.add('shout', 'a level that there is not')
  t.strictSame(texts(await log.end()), ['info a level that there is not'])
  log.add('info', 'too late')
  await clock.advance(5000)
  t.equal(written.length, 2)
  t.strictSame(log.total, { lines: 103, bytes: log.total.bytes })
})

t.test('lines that could not be written are in the next batch, in their order', async (t) => {
  const { clock, log, written } = callLog(LOG_MAX, 1)
  log.add('info', 'one')
  await clock.advance(500)
  await turn()
  log.add('info', 'two')
  await clock.advance(500)
  await turn()
  t.strictSame(written.map(texts), [['info one', 'info two']])
})

t.test('a call has a cap, and says so in one line; why it failed is told all the same', async (t) => {
  const { log, written } = callLog()
  for (let n = 0; n < 5000; n += 1) log.add('info', 'x')
  await turn()
  log.fail('SKILL_ERROR', 'boom')
  const lines = [...written.flat(), ...(await log.end())]
  t.equal(lines.length, 1102)
  t.strictSame(texts(lines.slice(-2)), [
    'warn the log of this call is full: its later lines are not kept',
    'error SKILL_ERROR: boom'
  ])
})

t.test('a session has a cap: the line that no longer fits says so, once in all its calls', async (t) => {
  const { log } = callLog({ lines: 2, bytes: 1000 })
  for (const line of ['one', 'two', 'three', 'four']) log.add('info', line)
  t.strictSame(texts(await log.end()), [
    'info one',
    'info two',
    'warn the log of this session is full: later lines are not kept'
  ])
  const left = { lines: 2 - log.total.lines, bytes: 1000 - log.total.bytes }
  const next = callLog(left).log
  next.add('info', 'five')
  next.fail('SKILL_ERROR', 'boom')
  t.strictSame(texts(await next.end()), ['error SKILL_ERROR: boom'])

  const short = callLog({ lines: 100, bytes: 10 }).log
  short.add('info', 'x'.repeat(11))
  short.add('info', 'fits')
  t.equal((await short.end()).length, 1, 'no shorter line is fitted in behind')
  t.equal(short.total.bytes, 10)
})

t.test('a line can be stored whatever is in it', async (t) => {
  const { log } = callLog()
  log.add('info', 'a\u0000b\ud800')
  t.strictSame(texts(await log.end()), ['info a\ufffdb\ufffd'])
})
