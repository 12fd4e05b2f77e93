import { join } from 'node:path'
import t from 'tap'
import { loadEnv } from '#config/env.ts'
import { AppError } from '#core/errors.ts'

const hmac = 'super-secret-jwt-token-with-at-least-32-characters-long'
const provider = {
  JWT_ISSUER: 'https://login.example.com/',
  JWT_AUDIENCE: 'agentos',
  JWT_JWKS_URL: 'https://login.example.com/jwks.json'
}

t.test('an identity provider is its issuer, audience and one kind of key, or nothing', async (t) => {
  const home = t.testdir({ secret: hmac })
  const read = (source: Record<string, string>) =>
    loadEnv({ AGENTOS_HOME: home, AGENTOS_SECRET: 'A'.repeat(43), ...source })
  const problems = (source: Record<string, string>): string => {
    try {
      read(source)
    } catch (error) {
      if (error instanceof AppError) return String(error.details?.problems)
    }
    return ''
  }
  t.equal(read({}).jwtIssuer, null)
  t.match(read(provider).jwtIssuer, { issuer: 'https://login.example.com/', audience: 'agentos', typ: 'at+jwt' })
  t.equal(read({ ...provider, JWT_TYP: 'JWT' }).jwtIssuer?.typ, 'JWT')
  const { JWT_JWKS_URL: _, ...named } = provider
  const supabase = read({ ...named, SUPABASE_JWT_SECRET_FILE: join(home, 'secret') })
  t.equal(supabase.jwtIssuer?.typ, 'JWT')
  t.notOk(JSON.stringify(supabase).includes(hmac))
  t.ok(read({ ...provider, JWT_JWKS_URL: 'http://127.0.0.1:9/jwks' }).jwtIssuer, 'on this machine')

  t.match(problems({ ...provider, SUPABASE_JWT_SECRET: hmac }), /keep one/)
  t.match(problems(named), /go together/)
  t.match(problems({ SUPABASE_JWT_SECRET: hmac }), /go together/)
  for (const url of ['http://login.example.com/jwks', 'ftp://x/y', 'https://u:p@login.example.com/jwks', 'jwks']) {
    t.match(problems({ ...provider, JWT_JWKS_URL: url }), /JWT_JWKS_URL/, url)
  }
  t.match(problems({ ...provider, JWT_ISSUER: 'agentos' }), /JWT_ISSUER/, 'which is ours')
  t.match(problems({ ...provider, JWT_TYP: 'id+jwt' }), /JWT_TYP/)
  const short = problems({ ...named, SUPABASE_JWT_SECRET: 'hunter22' })
  t.match(short, /SUPABASE_JWT_SECRET/)
  t.notOk(short.includes('hunter22'))
})
