import t from 'tap'
import { z } from 'zod'
import { checkEvent, defineEvent, eventCatalogue, MAX_EVENT_BYTES, pending } from '#core/events.ts'

const Said = defineEvent('speech.said', { subject: 'speech', data: z.strictObject({ text: z.string() }) })

t.test('an event name is declared once and has an owner and a past tense', async (t) => {
  t.throws(() => defineEvent('speech.said', { subject: 'speech', data: z.strictObject({}) }), {
    code: 'EVENT_TYPE_TAKEN'
  })
  for (const name of ['said', 'Speech.said', 'speech.', 'speech said']) {
    t.throws(() => defineEvent(name, { subject: 'speech', data: z.strictObject({}) }), { code: 'EVENT_TYPE_MALFORMED' })
  }
  t.throws(() => defineEvent('a.b', { subject: 'a:b', data: z.strictObject({}) }), { code: 'EVENT_TYPE_MALFORMED' })
  t.ok(eventCatalogue().includes(Said))
})

t.test('data outside its schema is refused before it is written', async (t) => {
  t.throws(() => checkEvent({ type: Said, subjectId: '1', data: { text: 1 } }), { code: 'EVENT_INVALID' })
  t.throws(() => checkEvent({ type: Said, subjectId: '1', data: { text: '', more: 1 } }), { code: 'EVENT_INVALID' })
})

t.test('data may have 16 KiB of JSON, counted in bytes', async (t) => {
  const frame = JSON.stringify({ text: '' }).length
  const fits = checkEvent(pending(Said, '1', { text: 'a'.repeat(MAX_EVENT_BYTES - frame) }))
  t.equal(fits.json.length, MAX_EVENT_BYTES)
  t.equal(fits.subject, 'speech:1')
  t.throws(() => checkEvent(pending(Said, '1', { text: 'a'.repeat(MAX_EVENT_BYTES - frame + 1) })), {
    code: 'EVENT_TOO_LARGE',
    status: 413,
    details: { type: 'speech.said', maxBytes: MAX_EVENT_BYTES }
  })
  t.throws(() => checkEvent(pending(Said, '1', { text: 'ä'.repeat(MAX_EVENT_BYTES / 2) })), { code: 'EVENT_TOO_LARGE' })
})
