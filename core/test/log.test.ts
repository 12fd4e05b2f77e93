import { inspect } from 'node:util'
import t from 'tap'
import { newKey } from '#core/auth/key.ts'
import { createLog } from '#core/log.ts'
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

t.test('requests and errors are cut to named fields', async (t) => {
  const err = Object.assign(new Error('bad'), { request: { body: 'private' } })
  const req = {
    id: '1',
    method: 'GET',
    url: '/v1/x?token=abc',
    headers: { authorization: 'Basic eHg=' },
    body: 'private'
  }
  const line = JSON.parse(logged((log) => log.info({ err, req }, 'x')))
  t.strictSame(line.req, { id: '1', method: 'GET', path: '/v1/x' })
  t.strictSame(Object.keys(line.err), ['type', 'message', 'stack'])
})

t.test('a secret prints as [secret] in every way of printing', async (t) => {
  const secret = new Secret(canary)
  t.strictSame(
    [`${secret}`, JSON.stringify({ secret }), inspect({ secret }), String(secret)],
    ['[secret]', '{"secret":"[secret]"}', '{ secret: [secret] }', '[secret]']
  )
  t.strictSame(Object.keys(secret), [])
})
