import { randomBytes } from 'node:crypto'
import t from 'tap'
import { guard, scrub, scrubJson, textsOf, unguard } from '#core/scrub.ts'
import { guardForLife, Secret } from '#core/secret.ts'

t.test('a secret is found in every encoding, wherever it stands in what is encoded', async (t) => {
  for (const text of [
    'c4n"ary/s3cret+välue?',
    'postgres://app:p%40ss-w0rd@db.example/agentos',
    randomBytes(32).toString('base64')
  ]) {
    const secret = new Secret(text)
    const inside = (before: string) => Buffer.from(`${before}${secret.reveal()} and more`)
    const written = [
      text,
      JSON.stringify({ text }),
      JSON.stringify(JSON.stringify({ text })),
      encodeURIComponent(text),
      encodeURIComponent(text).replaceAll(/%../g, (code) => code.toLowerCase()),
      new URLSearchParams({ q: text }).toString(),
      ...['', 'a', 'ab', 'abc'].flatMap((before) => [
        inside(before).toString('base64'),
        inside(before).toString('base64url'),
        inside(before).toString('hex'),
        inside(before).toString('hex').toUpperCase()
      ])
    ]
    for (const form of written) t.match(scrub(`before ${form} after`), /^before .*\[secret\].* after$/, form)
  }
})

t.test('the password of a URL and the bytes of a key are secrets of their own', async (t) => {
  const url = new Secret('redis://default:s3cr%2Fet-of-redis@cache:6379')
  const bytes = randomBytes(32)
  const key = new Secret(bytes.toString('base64'))
  t.equal(scrub('AUTH s3cr/et-of-redis'), 'AUTH [secret]')
  t.equal(scrub('AUTH s3cr%2Fet-of-redis'), 'AUTH [secret]')
  t.equal(scrub(`<${bytes.toString('hex')}>`), '<[secret]>')
  t.equal(scrub(`<${bytes.toString('base64url')}>`), '<[secret]>')
  guardForLife({ url, key })
})

t.test('secrets that overlap leave nothing between them', async (t) => {
  const held = ['0123456789abcdef', '89abcdefghijklmn', 'abcdefgh', 'klmnopqrstuv'].map((text) => new Secret(text))
  t.equal(scrub('<0123456789abcdefghijklmnopqrstuv>'), '<[secret]>')
  t.equal(scrub('<89abcdefghijklmn0123456789abcdef>'), '<[secret][secret]>')
  t.equal(scrub('abcdefgh'), '[secret]')
  t.equal(held.length, 4)
})

t.test('a text of fewer than eight characters is not looked for', async (t) => {
  const short = new Secret('dev1234')
  t.equal(scrub('dev1234'), 'dev1234')
  t.equal(short.reveal(), 'dev1234')
})

t.test('a JSON document stays one, whatever a secret looks like', async (t) => {
  const held = ['"level":"', '"msg":"hello', 'a"quote\\', '12345678'].map((text) => new Secret(text))
  const line = { level: 'info', pid: 12345678, msg: 'hello a"quote\\', nested: [{ reason: 'the 12345678' }] }
  t.strictSame(JSON.parse(scrubJson(JSON.stringify(line))), {
    level: 'info',
    pid: '[secret]',
    msg: 'hello [secret]',
    nested: [{ reason: 'the [secret]' }]
  })
  t.equal(held.length, 4)
})

t.test('our own words pass at the root only; deeper, every value and every key is looked at', async (t) => {
  const held = ['Summer-of-1967', 'requestId', '19670704'].map((text) => new Secret(text))
  const own = { level: 'Summer-of-1967', time: 'Summer-of-1967', type: 'Summer-of-1967', title: 'Summer-of-1967' }
  const deep = { ...own, code: 'Summer-of-1967', 'Summer-of-1967': 1, day: 19670704, days: [-19670704.5, true, null] }
  const masked = {
    ...{ level: '[secret]', time: '[secret]', type: '[secret]', title: '[secret]', code: '[secret]' },
    ...{ '[secret]': 1, day: '[secret]', days: ['[secret]', true, null] }
  }
  t.strictSame(JSON.parse(scrubJson(JSON.stringify({ ...own, requestId: 'x', deep, list: [[deep]] }))), {
    ...own,
    requestId: 'x',
    deep: masked,
    list: [[masked]]
  })
  t.strictSame(JSON.parse(scrubJson('["Summer-of-1967", {"code": "Summer-of-1967"}]')), [
    '[secret]',
    { code: '[secret]' }
  ])
  t.equal(held.length, 3)
})

t.test('a released secret is looked for as long as 1024 others were not released after it', async (t) => {
  const text = 'a-secret-that-nobody-holds'
  const twice = [guard(text), guard(text)]
  t.equal(twice[0], twice[1])
  unguard(guard('another-one-of-these'))
  unguard(String(twice[0]))
  for (let i = 0; i < 1024; i++) unguard(guard(`one-of-many-${i}-secrets`))
  t.equal(scrub(text), '[secret]', 'it has a holder')
  unguard(String(twice[1]))
  t.equal(scrub(text), '[secret]', 'its text may be on its way')
  for (let i = 0; i < 1025; i++) unguard(guard(`more-of-many-${i}-secrets`))
  t.equal(scrub(text), text)
})

t.test('a line takes about as long with 10,000 living secrets as with one', async (t) => {
  const line = JSON.stringify({ level: 'info', msg: 'x'.repeat(50), path: '/v1/sessions'.repeat(20) })
  const time = () => {
    const began = process.hrtime.bigint()
    for (let i = 0; i < 2000; i++) scrub(line)
    return Number(process.hrtime.bigint() - began) / 2000 / 1000
  }
  const fastest = () => Math.min(...Array.from({ length: 5 }, time))
  const held = [new Secret(randomBytes(20).toString('hex'))]
  fastest()
  const one = fastest()
  for (let i = 0; i < 10_000; i++) held.push(new Secret(randomBytes(20).toString('hex')))
  const many = fastest()
  t.comment(`${one.toFixed(1)} us a line with one, ${many.toFixed(1)} us with ${held.length} secrets`)
  t.ok(many < one * 10 + 20)
})

t.test('an answer shows what its reader said as it was said: a guess is not told that it is right', (t) => {
  const name = guard('Summer-of-2026')
  t.teardown(() => unguard(name))
  const answer = (guess: string) =>
    scrubJson(JSON.stringify({ detail: `unknown key "${guess}"` }), () =>
      textsOf({ url: '/v1/keys', body: { [guess]: 1 } })
    )
  for (const guess of ['Summer-of-2025', 'Summer-of-2026']) t.match(JSON.parse(answer(guess)).detail, guess)
  const other = scrubJson(JSON.stringify({ detail: 'it is Summer-of-2026' }), () => textsOf({ a: 'Summer-of-2025' }))
  t.match(other, /it is \[secret\]/, 'what it did not say is masked')

  const pin = guard('20260704')
  t.teardown(() => unguard(pin))
  const shown = JSON.stringify({ given: 20260704, deep: { 'Summer-of-2026': [20260704] } })
  t.equal(
    scrubJson(shown, () => textsOf({ pin: 20260704, name: 'Summer-of-2026' })),
    shown,
    'numbers and keys too'
  )
  t.end()
})
