import t from 'tap'
import { compileSchema, SchemaRefused } from '#core/json-schema.ts'

t.test('a pattern made to hang ordinary engines is answered at once', (t) => {
  const check = compileSchema({ type: 'string', pattern: '^(a+)+$' })
  t.strictSame(check('a'.repeat(50_000)), [])
  t.match(check(`${'a'.repeat(50_000)}!`), [{ pointer: '', detail: /pattern/ }])
  t.end()
})

t.test('a check that would hold the event loop is refused before or while it runs', (t) => {
  const zeros = Array(500_000).fill(0)
  const text = 'x'.repeat(1_000_000)
  const hostile: [object, unknown][] = [
    [{ items: { anyOf: Array.from({ length: 1500 }, (_, i) => ({ const: i + 1 })) } }, zeros],
    [{ items: { enum: Array.from({ length: 4000 }, (_, i) => i + 1) } }, zeros],
    [{ allOf: Array.from({ length: 1000 }, (_, i) => ({ maxLength: 2_000_000 + i })) }, text],
    [{ pattern: '(a?){900}b$' }, 'ab'.repeat(50_000)],
    [{ allOf: Array.from({ length: 500 }, (_, i) => ({ pattern: `^[^${i}]*$` })) }, text]
  ]
  for (const [schema, value] of hostile) {
    const started = performance.now()
    t.match(compileSchema(schema)(value), [{ detail: /too large/ }])
    t.ok(performance.now() - started < 3000)
  }
  t.strictSame(compileSchema({ items: { type: 'integer', minimum: 0 } })(zeros), [])
  t.strictSame(compileSchema({ pattern: '^[a-z]+$' })(text), [])
  t.end()
})

t.test('each pattern of a schema is its own', (t) => {
  const check = compileSchema({ properties: { a: { pattern: '^a$' }, b: { pattern: '^b$' } } })
  t.strictSame(check({ a: 'a', b: 'b' }), [])
  t.match(check({ a: 'a', b: 'a' }), [{ pointer: '/b' }])
  t.end()
})

t.test('a violation says where and what', (t) => {
  const check = compileSchema({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: { list: { type: 'array', items: { $ref: '#/$defs/n' } }, to: { type: 'string', format: 'email' } },
    patternProperties: { '^x-': { enum: [1, 'a'] } },
    required: ['list'],
    $defs: { n: { type: 'integer' } },
    additionalProperties: false
  })
  t.strictSame(check({ list: [1, 2], to: 'format is a remark', 'x-a': 'a' }), [])
  t.strictSame(check({ list: [1, 'x'] }), [{ pointer: '/list/1', detail: 'must be integer' }])
  t.strictSame(check({ list: [], 'a/b': 1 }), [{ pointer: '/a~1b', detail: 'is not a known property' }])
  t.strictSame(check({}), [{ pointer: '/list', detail: 'is required' }])
  t.strictSame(check({ list: [], 'x-a': 2 }), [{ pointer: '/x-a', detail: 'must be one of [1,"a"]' }])
  t.end()
})

t.test('unique scalars of a list of any length are allowed, other lists only up to a length', (t) => {
  const check = compileSchema({ items: { type: 'string' }, uniqueItems: true })
  const names = Array.from({ length: 50_000 }, (_, i) => `n${i}`)
  t.strictSame(check(names), [])
  t.match(check([...names, 'n7']), [{ pointer: '', detail: /duplicate/ }])
  t.match(compileSchema({ uniqueItems: true, maxItems: 10 })([{ a: 1 }, { a: 1 }]), [{ detail: /duplicate/ }])
  t.throws(() => compileSchema({ uniqueItems: true }), { name: 'SchemaRefused', message: /^\/uniqueItems: / })
  t.end()
})

t.test('what cannot be checked in bounded time is refused when it is compiled, and told where', (t) => {
  const refused: [unknown, string, RegExp][] = [
    [true, '', /object/],
    [{ properties: { a: { anyOf: [{ $ref: '#' }, { $ref: '#' }] } } }, '/properties/a/anyOf/0/$ref', /itself/],
    [{ properties: { 'a/b': { $id: 'x' } } }, '/properties/a~1b/$id', /not allowed/],
    [{ type: 'text' }, '/type', /must be/],
    [{ maximun: 3 }, '', /maximun/],
    [{ pattern: '(a)\\1' }, '', /regexp/i],
    [{ pattern: 'a'.repeat(1001) }, '', /1000 characters/],
    [{ pattern: 'a{1000}'.repeat(140) }, '', /too large/],
    [{ patternProperties: Object.fromEntries([['a{1000}'.repeat(11), {}]]) }, '', /too large/]
  ]
  for (const [schema, pointer, detail] of refused) {
    const started = performance.now()
    const error = t.throws(() => compileSchema(schema), { name: 'SchemaRefused', detail })
    t.ok(error instanceof SchemaRefused && error.pointer.startsWith(pointer))
    t.ok(performance.now() - started < 2000)
  }
  t.end()
})

t.test('patterns are those of JavaScript where RE2 can run them', (t) => {
  const check = compileSchema({ pattern: '^\\u0041\\/(?<year>\\d{4})$' })
  t.strictSame(check('A/2026'), [])
  t.match(check('B/2026'), [{ detail: /pattern/ }])
  t.end()
})

t.test('the same schema is compiled once, and what is kept is bounded', (t) => {
  const schema = { type: 'object', properties: { a: { type: 'integer' } } }
  const check = compileSchema(schema)
  t.equal(compileSchema(structuredClone(schema)), check)
  for (let i = 0; i < 80; i++) compileSchema({ const: `${i}${'x'.repeat(60_000)}` })
  t.not(compileSchema(schema), check)
  t.end()
})
