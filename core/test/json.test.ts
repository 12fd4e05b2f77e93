import t from 'tap'
import { findUnsafe, findUnstorable } from '#core/json.ts'

t.test('what a database cannot keep is found, wherever it stands', (t) => {
  t.equal(findUnstorable({ a: ['ok', 1, null, { 'é\u{1f600}': true }] }), null)
  t.strictSame(findUnstorable('\0'), { pointer: '', detail: 'contains U+0000, which cannot be stored' })
  t.match(findUnstorable({ 'a/b': [0, { c: 'x\0' }] }), { pointer: '/a~1b/1/c', detail: /U\+0000/ })
  t.match(findUnstorable([{ a: '\ud800' }]), { pointer: '/0/a', detail: /surrogate/ })
  t.match(findUnstorable({ a: { 'k\0': 1 } }), { pointer: '/a', detail: /^a key contains/ })
  t.equal(findUnsafe(['\0']), null, 'it can be held in memory')
  t.end()
})

t.test('keys that reach for prototypes and deep nesting are found without running out of stack', (t) => {
  for (const key of ['__proto__', 'constructor']) {
    const value = JSON.parse(`{"a": [{"${key}": {}}]}`)
    t.strictSame(findUnsafe(value), { pointer: `/a/0/${key}`, detail: `the key ${key} is not allowed` })
    t.strictSame(findUnstorable(value), findUnsafe(value))
  }
  const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)
  t.equal(findUnsafe(nested(100)), null)
  t.match(findUnsafe(nested(101)), { detail: 'nested deeper than 100 levels' })
  t.match(findUnsafe(nested(500_000)), { detail: 'nested deeper than 100 levels' })
  t.end()
})
