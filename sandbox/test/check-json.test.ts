import t from 'tap'
import { refuseJson } from '../supervisor/check-json.ts'

t.test('plain JSON passes', async (t) => {
  for (const text of [
    '1',
    '"__proto__"',
    '{"constructor":"Acme","proto":{}}',
    '[]',
    'null',
    JSON.stringify('["{'.repeat(500))
  ])
    t.equal(refuseJson(text), undefined)
  t.equal(refuseJson('['.repeat(200) + ']'.repeat(200)), undefined)
})

t.test('keys that pollute, text that is no JSON and deep nesting are named', async (t) => {
  t.match(refuseJson('{"__proto__":1}'), /forbidden/)
  t.match(refuseJson('[{"a":{"__pro\\u0074o__":{}}}]'), /forbidden/)
  t.match(refuseJson('{"constructor":{"prototype":{}}}'), /forbidden/)
  t.match(refuseJson('{"a":'), /not JSON/)
  t.match(refuseJson(''), /not JSON/)
  t.match(refuseJson('['.repeat(201) + ']'.repeat(201)), /nested/)
  t.match(refuseJson(`{"a":"\\"${'x'.repeat(500)}","b":${'['.repeat(300)}`), /nested/)
})
