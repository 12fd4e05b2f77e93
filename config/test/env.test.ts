import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { envExample, loadEnv } from '#config/env.ts'
import { AppError } from '#core/errors.ts'

const secret = Buffer.alloc(32, 7).toString('base64')

function problemsOf(source: Record<string, string>): string[] {
  try {
    loadEnv(source)
  } catch (error) {
    if (error instanceof AppError) return error.details?.problems as string[]
    throw error
  }
  return []
}

t.test('an empty environment gives the defaults', async (t) => {
  const env = loadEnv({ AGENTOS_HOME: t.testdir() })
  t.match(env, {
    port: 3000,
    portIsSet: false,
    host: '127.0.0.1',
    databaseUrl: null,
    logLevel: 'info',
    logLevelIsSet: false,
    concurrency: 64,
    eventRetentionDays: null
  })
  t.equal(env.objectsDir, join(env.home, 'objects'))
})

t.test('every bad variable is listed at once, with an example, and values of secrets are not shown', async (t) => {
  const problems = problemsOf({
    PORT: '70000',
    HOST: 'a b',
    LOG_LEVEL: 'loud',
    DATABASE_URL: 'mysql://root:hunter22@host/db',
    AGENTOS_SECRET: 'hunter22',
    AGENTOS_CONCURRENCY: '0',
    EVENT_RETENTION_DAYS: '0',
    AGENTOS_CRASH_AT: 'somewhere',
    DATABASE_APP_URL: 'postgres://x'
  })
  t.equal(problems.length, 9)
  for (const name of ['PORT', 'HOST', 'LOG_LEVEL', 'DATABASE_URL', 'AGENTOS_SECRET', 'AGENTOS_CONCURRENCY']) {
    t.ok(
      problems.some((problem) => problem.startsWith(`${name}:`) && problem.includes(`Example: ${name}=`)),
      name
    )
  }
  t.ok(problems.some((problem) => problem.includes('DATABASE_SYSTEM_URL go together')))
  t.ok(problems.some((problem) => problem.includes('NODE_ENV=test')))
  t.notOk(problems.join().includes('hunter22'))
})

t.test('a crash point is one that the code has, the n-th time where it says so', async (t) => {
  const read = (AGENTOS_CRASH_AT: string) =>
    loadEnv({ NODE_ENV: 'test', AGENTOS_HOME: home, AGENTOS_SECRET: secret, AGENTOS_CRASH_AT }).crashAt
  const home = t.testdir()
  t.strictSame(read('effect-done'), { point: 'effect-done', after: 1 })
  t.strictSame(read('before-commit:12'), { point: 'before-commit', after: 12 })
  for (const value of ['after-effect', 'effect-done:0', 'effect-done:x', 'effect-done:1:2', ':1'])
    t.match(
      problemsOf({ NODE_ENV: 'test', AGENTOS_CRASH_AT: value, PORT: '-1' }),
      [/known are admitted, /, /^PORT: /],
      value
    )
})

t.test('a misspelt AGENTOS_ variable is named, other programs keep theirs', async (t) => {
  t.match(problemsOf({ AGENTOS_CONCURENCY: '5', EDITOR: 'vi' }), [/^AGENTOS_CONCURENCY is no variable/])
})

t.test('a secret may come from a file, and not from both places', async (t) => {
  const home = t.testdir({ s: `${secret}\n` })
  const file = join(home, 's')
  t.equal(loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET_FILE: file }).secret.reveal(), secret)
  t.match(problemsOf({ AGENTOS_SECRET: secret, AGENTOS_SECRET_FILE: file }), [/both set/])
  t.match(problemsOf({ AGENTOS_SECRET_FILE: join(home, 'none') }), [/AGENTOS_SECRET_FILE: ENOENT/])
})

t.test('without a secret one is made once, mode 0600, and kept; a broken file stops the boot', async (t) => {
  const home = join(t.testdir(), 'new')
  const first = loadEnv({ AGENTOS_HOME: home }).secret.reveal()
  t.equal(Buffer.from(first, 'base64').length, 32)
  t.equal(loadEnv({ AGENTOS_HOME: home }).secret.reveal(), first)
  t.equal(statSync(join(home, 'secret')).mode & 0o777, 0o600)
  t.equal(statSync(home).mode & 0o777, 0o700)
  writeFileSync(join(home, 'secret'), 'cut')
  t.match(problemsOf({ AGENTOS_HOME: home }), [/secret does not hold base64 of 32 bytes/])
})

t.test('the keys of the vault are a list of versions, and a bad list is not shown', async (t) => {
  const key = Buffer.alloc(32, 9).toString('base64')
  const list = `2:${key},1:derived`
  const read = (source: Record<string, string>) =>
    loadEnv({ AGENTOS_HOME: t.testdirName, AGENTOS_SECRET: secret, ...source })
  const home = t.testdir({ keks: `2:${key}\n1:derived\n` })
  t.equal(read({}).vaultKeks, null)
  t.equal(read({ VAULT_KEKS: list }).vaultKeks?.reveal(), list)
  t.equal(read({ VAULT_KEKS_FILE: join(home, 'keks') }).vaultKeks?.reveal(), `2:${key}\n1:derived`)
  for (const bad of [key, `2:${key},2:${key}`, '2:derived', `2:${key.slice(4)}`])
    t.match(problemsOf({ VAULT_KEKS: bad }), [/^VAULT_KEKS: its value \(not shown\) is not valid\./])
})

t.test('secrets print as [secret]', async (t) => {
  const env = loadEnv({ AGENTOS_HOME: t.testdir(), AGENTOS_SECRET: secret, DATABASE_URL: 'postgres://u:p@h/d' })
  t.notOk(JSON.stringify(env).includes(secret))
  t.notOk(JSON.stringify(env).includes('u:p'))
  t.equal(env.databaseUrl?.reveal(), 'postgres://u:p@h/d')
})

t.test('.env.example documents exactly the variables that are read', async (t) => {
  t.equal(readFileSync(new URL('../../.env.example', import.meta.url), 'utf8'), envExample())
})

t.test('a proxy is trusted by address, by CIDR or by number, and never everybody', async (t) => {
  const home = t.testdir()
  const read = (TRUST_PROXY: string) => loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET: secret, TRUST_PROXY }).trustProxy
  t.equal(loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET: secret }).trustProxy, false)
  t.equal(read('false'), false)
  t.equal(read('2'), 2)
  t.strictSame(read('10.0.0.0/8, ::1'), ['10.0.0.0/8', '::1'])
  for (const TRUST_PROXY of ['true', '*', '10.0.0.0/33', '10.0.0.0/8/8', 'proxy.example', '10.0.0.1,', '-1', '77']) {
    t.match(problemsOf({ TRUST_PROXY }), [/^TRUST_PROXY: .* Example: TRUST_PROXY=/], TRUST_PROXY)
  }
})

t.test('an origin is scheme, host and port, as browsers send it', async (t) => {
  const home = t.testdir()
  const read = (ALLOWED_ORIGINS: string) =>
    loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET: secret, ALLOWED_ORIGINS }).allowedOrigins
  t.strictSame(read('https://a.example, http://localhost:5173/'), ['https://a.example', 'http://localhost:5173'])
  for (const ALLOWED_ORIGINS of ['*', 'a.example', 'https://a.example/app', 'https://*.example', 'null', 'ftp://a.b']) {
    t.match(problemsOf({ ALLOWED_ORIGINS }), [/^ALLOWED_ORIGINS: /], ALLOWED_ORIGINS)
  }
})

t.test('the URL of Redis is a secret', async (t) => {
  const home = t.testdir()
  const env = loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET: secret, REDIS_URL: 'redis://agentos:hunter22@redis:6379' })
  t.equal(String(env.redisUrl), '[secret]')
  t.match(problemsOf({ REDIS_URL: 'http://agentos:hunter22@redis' }), [/^REDIS_URL: its value \(not shown\)/])
})
