import { inspect } from 'node:util'
import t from 'tap'
import { newKey } from '#core/auth/key.ts'
import { Internal, NotFound } from '#core/errors.ts'
import { createLog, scrubOutput } from '#core/log.ts'
import { nameLogFields } from '#core/log-fields.ts'
import { Secret } from '#core/secret.ts'

const canary = 'c4n"ary/s3cret+value'

function logged(write: (log: ReturnType<typeof createLog>) => void): string {
  const lines: string[] = []
  write(createLog({ level: 'trace', destination: { write: (line: string) => void lines.push(line) } }))
  return lines.join('')
}

t.test('a living secret leaves no trace in the log, wherever it was put', async (t) => {
  const secret = new Secret(canary)
  const cause = new Error(`inner ${canary}`)
  const text = logged((log) => {
    log.info({ a: { b: { password: canary } }, list: [canary], secret }, `in the text ${canary}`)
    log.error({ err: Object.assign(new Error(`failed with ${canary}`, { cause }), { config: { token: canary } }) }, 'x')
    log.warn({ url: `https://host/?q=${encodeURIComponent(canary)}` }, Buffer.from(canary).toString('base64'))
    log.info({ err: new AggregateError([new Error(canary)], 'many') }, 'x')
  })
  for (const form of [canary, JSON.stringify(canary).slice(1, -1), encodeURIComponent(canary), btoa(canary)]) {
    t.notOk(text.includes(form), form)
  }
  t.match(text, '[secret]')
  t.equal(secret.reveal(), canary)
})

t.test('what looks like a key is scrubbed though nobody registered it', async (t) => {
  const { key } = newKey()
  const given = [
    String(JSON.parse(JSON.stringify({ k: key.reveal() })).k),
    'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl',
    'sk-proj-0123456789abcdefghij',
    'AKIAIOSFODNN7EXAMPLE',
    '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----'
  ]
  for (const text of given) {
    const line = logged((log) => log.info({ deep: { er: [text] } }, `see ${text} there`))
    t.notOk(line.includes(JSON.stringify(text).slice(1, -1)), text.slice(0, 12))
    t.match(JSON.parse(line).msg, /^see \[secret\] there$/)
  }
  const url = logged((log) => log.info('postgres://admin:hunter22@db.example:5432/agentos'))
  t.match(JSON.parse(url).msg, 'postgres://admin:[secret]@db.example:5432/agentos')
})

t.test('requests and errors are cut to named fields; a request is its route and ids, never its path', async (t) => {
  const err = Object.assign(new Error('bad'), { request: { body: 'private' }, query: 'select private' })
  const req = {
    id: '1',
    method: 'GET',
    url: '/v1/x/canary?token=abc',
    params: { name: 'canary', id: '0192f0c0-1111-7000-8000-000000000001' },
    routeOptions: { url: '/v1/x/:name/:id' },
    headers: { authorization: 'Basic eHg=' },
    body: 'private'
  }
  const line = JSON.parse(logged((log) => log.info({ err, req, res: { statusCode: 200, body: 'private' } }, 'x')))
  const ids = { id: '0192f0c0-1111-7000-8000-000000000001' }
  t.strictSame(line.req, { id: '1', method: 'GET', route: '/v1/x/:name/:id', ids })
  t.strictSame(line.res, { status: 200 })
  t.strictSame(Object.keys(line.err), ['type', 'message', 'stack'])
  t.notMatch(line.err.stack, /bad/, 'the frames only')
})

t.test('an object is not dumped: what has no name in the table is left out and counted', async (t) => {
  const row = { tenantId: 'a', body: 'private', config: { a: 'private' }, tenant: 'private' }
  const text = logged((log) => {
    log.info(row, 'x')
    log.info({ row, steps: ['one', { a: 'private' }], reason: { a: 'private' } }, 'x')
    log
      .child({ actor: 'a', row })
      .child({ session: 'private' })
      .info({ input: 'private' }, 'with %o and %s', row, 'word')
    log.error({ err: { a: 'private' }, error: ['private'] }, 'x')
  })
  t.notMatch(text, /private/)
  const [first, second, third] = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
  t.match(first, { tenantId: 'a', dropped: 3 })
  t.match(second, { steps: ['one', '[object]'], dropped: 2 })
  t.match(third, { actor: 'a', dropped: 1, msg: /with .*\[object\].* and word/ })
})

t.test('errors that quote what a tenant sent are logged without it', async (t) => {
  const data = Object.assign(new Error('invalid input syntax for type uuid: "private"'), {
    code: '22P02',
    detail: 'private',
    table_name: 'key'
  })
  const text = logged((log) => {
    log.error({ err: new Internal(data.message, data) }, 'x')
    log.warn({ err: new NotFound('the private thing') }, 'x')
  })
  t.notMatch(text, /private/)
  t.match(text, /22P02.*"table_name":"key"/)
  t.match(text, /"message":"RESOURCE_NOT_FOUND"/)
})

t.test('a long text is scrubbed before it is cut', async (t) => {
  const secret = new Secret('abcdefghijklmnopqrstuvwxyz')
  const text = logged((log) =>
    log.info({ reason: 'x'.repeat(990) + secret.reveal() }, 'y'.repeat(1990) + secret.reveal())
  )
  t.notMatch(text, /abcdef/)
  t.ok(text.length < 3500)
})

t.test('a room of a third party names the fields that it logs', async (t) => {
  const line = () => JSON.parse(logged((log) => log.info({ dreamCycles: 3 }, 'x')))
  t.match(line(), { dropped: 1 })
  nameLogFields('dreamCycles')
  t.match(line(), { dreamCycles: 3 })
})

t.test('what else is printed is scrubbed as well', async (t) => {
  const secret = new Secret(canary)
  const written: unknown[] = []
  const stream = { write: (chunk: unknown) => written.push(chunk) > 0 }
  scrubOutput(stream as never)
  stream.write(`cannot start with ${secret.reveal()}`)
  t.strictSame(written, ['cannot start with [secret]'])
})

t.test('a secret prints as [secret] in every way of printing', async (t) => {
  const secret = new Secret(canary)
  t.strictSame(
    [`${secret}`, JSON.stringify({ secret }), inspect({ secret }), String(secret)],
    ['[secret]', '{"secret":"[secret]"}', '{ secret: [secret] }', '[secret]']
  )
  t.strictSame(Object.keys(secret), [])
})
