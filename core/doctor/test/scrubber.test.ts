import { pino } from 'pino'
import t from 'tap'
import { scrubberCheck } from '#core/doctor/scrubber.ts'
import { createLog } from '#core/log.ts'
import { testApp } from '#test/support/app.ts'

t.test("the line of the log's scrubber is green in every app, and red for a log of another make", async (t) => {
  const { app } = await testApp(t)
  const line = (await app.doctor.run('tenancy'))?.checks.find(({ name }) => name === 'log.scrubber')
  t.match(line, { ok: true, detail: '6 encodings of a probe were masked' })

  const plain = pino({ level: 'silent' })
  const check = scrubberCheck(plain)
  t.match(
    { ...check, ...(await check.run()) },
    { name: 'log.scrubber', ok: false, detail: /written as it is: plain, json, url, hex, base64/ }
  )
  const log = createLog({ destination: { write() {} } })
  t.match(
    await scrubberCheck(log.child({ requestId: '1' })).run(),
    { ok: true },
    'a child writes where its parent does'
  )
})
