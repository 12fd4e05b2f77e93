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

t.test('events of the platform come only to who names them', async (t) => {
  t.strictSame(splitByStream(['*', 'gazette.*', 'gazette:1', Announced.type, 'platform.*']), {
    platform: [Announced.type, 'platform.*'],
    tenant: ['*', 'gazette.*', 'gazette:1']
  })
})
