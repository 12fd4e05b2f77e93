import t from 'tap'
import { Announced } from '#core/bus/test/support.ts'
import { matches, parseTopics, splitByStream } from '#core/bus/topics.ts'

const event = { type: 'session.gate.passed', subject: 'session:1' }

t.test('a topic is a subject, a family, an event name or everything', async (t) => {
  for (const topic of ['session:1', 'session.*', 'session.gate.*', 'session.gate.passed', '*'])
    t.equal(matches(parseTopics([topic]), event), true, topic)
  for (const topic of ['session:11', 'agent.*', 'session.gate', 'session.gate.failed', 'sess.*'])
    t.equal(matches(parseTopics([topic]), event), false, topic)
  for (const topic of ['', 'session', 'session:', '**', '*.x', 'Session.*', 'a b', "session:1' or 1=1 --"])
    t.throws(() => parseTopics([topic]), { code: 'BUS_TOPIC_INVALID', status: 400 }, topic)
})

t.test('a publisher whose name begins with a digit can be followed', async (t) => {
  const made = { type: 'custom.7zip.pack.report.made', subject: 'session:1' }
  for (const topic of ['custom.*', 'custom.7zip.*', made.type]) t.ok(matches(parseTopics([topic]), made), topic)
  t.notOk(matches(parseTopics(['custom.7.*']), made))
})

t.test('events of the platform come only to who names them', async (t) => {
  t.strictSame(splitByStream(['*', 'gazette.*', 'gazette:1', Announced.type, 'platform.*']), {
    platform: [Announced.type, 'platform.*'],
    tenant: ['*', 'gazette.*', 'gazette:1']
  })
})
