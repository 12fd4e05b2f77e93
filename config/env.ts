import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { JwtIssuer } from '#core/auth/jwt/issuers.ts'
import { CRASH_POINTS, type CrashPoint } from '#core/crash-point.ts'
import { defineError } from '#core/errors.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { parseKeks } from '#core/vault/keys.ts'
import { jwksUrl, jwtIssuerOf, jwtTyp } from './jwt.ts'

export const ConfigInvalid = defineError('CONFIG_INVALID', 500, (problems: string[]) => ({
  message: `the configuration is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`,
  details: { problems }
}))

interface Variable {
  /** What .env.example says of it. */
  about: string
  example: string
  schema: z.ZodType
  /** Kept in a Secret; `<NAME>_FILE` names a file that holds it instead. */
  secret?: boolean
}

const port = z.string().regex(/^\d+$/).transform(Number).pipe(z.number().max(65535))
const postgresUrl = z.string().regex(/^postgres(ql)?:\/\/[^\s]+$/)
const redisUrl = z.string().regex(/^rediss?:\/\/[^\s]+$/)
const base64Of32 = z.string().refine((text) => /^[\w+/-]+=?$/.test(text) && Buffer.from(text, 'base64').length === 32)

const crashAt = z
  .string()
  .regex(/^[a-z-]+(:[1-9]\d{0,8})?$/)
  .transform((text) => {
    const [point, after = '1'] = text.split(':')
    return { point, after: Number(after) }
  })
  .pipe(z.object({ point: z.enum(CRASH_POINTS), after: z.int() }))

// `true` would believe everybody: whoever sends X-Forwarded-For would choose the address that limits count.
const trustProxy = z.string().transform((text, context): string[] | number | false => {
  if (text === 'false' || text === '0') return false
  if (/^[1-9]$/.test(text)) return Number(text)
  const places = text.split(',').map((place) => place.trim())
  if (places.every(isCidr)) return places
  context.addIssue({ code: 'custom', message: 'no list of addresses' })
  return z.NEVER
})

const list = z.string().transform((text) => text.split(',').map((part) => part.trim().toLowerCase()))

function isCidr(text: string): boolean {
  const [address = '', bits, more] = text.split('/')
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  return most > 0 && more === undefined && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most))
}

const origins = z
  .string()
  .transform((text) => text.split(',').map((origin) => origin.trim().replace(/\/$/, '')))
  .pipe(
    z.array(
      z.string().refine((text) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text)
    )
  )

/** Every variable that the server reads; .env.example is held to this table by a test. */
export const variables = {
  PORT: { about: 'Port to listen on, 0 to 65535; 0 takes any free one. Default 3000.', example: '3000', schema: port },
  HOST: {
    about: 'Address to listen on. Default 127.0.0.1.',
    example: '127.0.0.1',
    schema: z.string().regex(/^[\w.:-]+$/)
  },
  DATABASE_URL: {
    about: 'PostgreSQL 15 or newer, a login that may create roles and schemas. Unset: an embedded one in AGENTOS_HOME.',
    example: 'postgres://admin:password@db.example:5432/agentos',
    schema: postgresUrl,
    secret: true
  },
  DATABASE_APP_URL: {
    about: 'Login of agentos_app, where you make the roles yourself. Needs DATABASE_SYSTEM_URL.',
    example: 'postgres://agentos_app:password@db.example:5432/agentos',
    schema: postgresUrl,
    secret: true
  },
  DATABASE_SYSTEM_URL: {
    about: 'Login of agentos_system, where you make the roles yourself. Needs DATABASE_APP_URL.',
    example: 'postgres://agentos_system:password@db.example:5432/agentos',
    schema: postgresUrl,
    secret: true
  },
  REDIS_URL: {
    about: 'Redis 7 or newer, by which hosts count requests together. Unset: each host counts its own.',
    example: 'rediss://agentos:password@redis.example:6379',
    schema: redisUrl,
    secret: true
  },
  TRUST_PROXY: {
    about:
      'Whose X-Forwarded-For and -Proto are believed: addresses or CIDRs of your proxies, comma-separated, or how many ' +
      'stand in front (only where nobody else reaches the port). Default false: nobody.',
    example: '10.0.0.0/8,fd00::/8',
    schema: trustProxy
  },
  ALLOWED_ORIGINS: {
    about: 'Web pages of other hosts that may call the API and connect to /v1/ws, comma-separated. Default none.',
    example: 'https://app.example.com,http://localhost:5173',
    schema: origins
  },
  RATE_LIMITS: {
    about: 'JSON file of your own limits of requests, in the form of config/limits.json. Default that file.',
    example: '/etc/agentos/limits.json',
    schema: z.string().min(1)
  },
  AGENTOS_HOME: {
    about: 'Folder of what this server keeps: embedded database, secret, owner key. Default .agentos.',
    example: '.agentos',
    schema: z.string().min(1)
  },
  AGENTOS_SECRET: {
    about: 'base64 of 32 bytes, the same on every host of one database. Unset: made once in AGENTOS_HOME/secret.',
    example: 'q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=',
    schema: base64Of32,
    secret: true
  },
  VAULT_KEKS: {
    about:
      'Keys that wrap the data keys of the vault, version:base64 of 32 bytes; the first is current, the others are for ' +
      'reading until a rotation is done. Default 1:derived, made of AGENTOS_SECRET.',
    example: '2:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=,1:derived',
    schema: z.string().refine((text) => parseKeks(text) !== null),
    secret: true
  },
  JWT_ISSUER: {
    about:
      'Identity provider whose access tokens are believed: `iss`, exactly as they have it. Needs JWT_AUDIENCE and keys.',
    example: 'https://login.example.com/',
    schema: z.url({ protocol: /^https?$/ })
  },
  JWT_AUDIENCE: {
    about: 'What `aud` of its tokens must be or hold (Supabase: authenticated).',
    example: 'https://agentos.example.com',
    schema: z.string().min(1).max(500)
  },
  JWT_JWKS_URL: {
    about: 'Where its public keys are (EdDSA, ES256): https, or http on this machine.',
    example: 'https://login.example.com/.well-known/jwks.json',
    schema: jwksUrl
  },
  JWT_TYP: {
    about:
      'Which `typ` its access tokens have, at+jwt (RFC 9068) or JWT. Default at+jwt; with SUPABASE_JWT_SECRET JWT.',
    example: 'JWT',
    schema: jwtTyp
  },
  SUPABASE_JWT_SECRET: {
    about: 'Instead of JWT_JWKS_URL: the HS256 secret of an older Supabase project, for tokens of JWT_ISSUER only.',
    example: 'super-secret-jwt-token-with-at-least-32-characters-long',
    schema: z.string().min(32).max(1000),
    secret: true
  },
  OBJECTS_DIR: {
    about: 'Folder of the object store; shared by all hosts of one database. Default AGENTOS_HOME/objects.',
    example: '/var/lib/agentos/objects',
    schema: z.string().min(1)
  },
  LOG_LEVEL: {
    about: 'fatal, error, warn, info, debug, trace or silent: JSON lines on stderr. Default info, on a terminal warn.',
    example: 'info',
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
  },
  SANDBOX_REQUIRE: {
    about: 'strict refuses to start where the OS gives no namespaces; best takes what there is. Default best.',
    example: 'best',
    schema: z.enum(['strict', 'best'])
  },
  SKILL_FETCH_ALLOW: {
    about:
      'Addresses or CIDRs, comma-separated, that skills may reach although they are not public: services of your own. ' +
      'Default none.',
    example: '10.20.0.0/16',
    schema: list.pipe(z.array(z.string().refine(isCidr)))
  },
  SKILL_FETCH_DENY: {
    about:
      'Names, addresses or CIDRs, comma-separated, that no skill may reach: this platform as the world sees it. Default none.',
    example: 'agents.example.com,203.0.113.7',
    schema: list.pipe(z.array(z.string().refine((text) => isCidr(text) || /^[a-z0-9.-]{1,253}$/.test(text))))
  },
  AGENTOS_CONCURRENCY: {
    about: 'Sessions that this host runs at once, 1 to 10000. Default 64.',
    example: '64',
    schema: z.string().regex(/^\d+$/).transform(Number).pipe(z.number().min(1).max(10_000))
  },
  EVENT_RETENTION_DAYS: {
    about: 'Events older than so many days are deleted, 1 to 36500. Unset: they are kept for ever.',
    example: '90',
    schema: z.string().regex(/^\d+$/).transform(Number).pipe(z.number().min(1).max(36_500))
  },
  AGENTOS_CRASH_AT: {
    about: `Tests only (NODE_ENV=test): the process kills itself at this point, or the n-th time as point:n; known are ${CRASH_POINTS.join(', ')}.`,
    example: 'effect-done',
    schema: crashAt
  }
} satisfies Record<string, Variable>

export interface Env {
  port: number
  /** A port that was set and is taken is an error; of the default one the next free is tried. */
  portIsSet: boolean
  host: string
  databaseUrl: Secret | null
  databaseAppUrl: Secret | null
  databaseSystemUrl: Secret | null
  redisUrl: Secret | null
  /** Whose X-Forwarded-* are believed: addresses and CIDRs, or how many hops. */
  trustProxy: readonly string[] | number | false
  /** As browsers send them: scheme, host and port. */
  allowedOrigins: readonly string[]
  /** null: config/limits.json. */
  rateLimits: string | null
  /** Absolute. */
  home: string
  secret: Secret
  /** null: the derived one alone. */
  vaultKeks: Secret | null
  /** Whose tokens are believed besides ours. */
  jwtIssuer: JwtIssuer | null
  objectsDir: string
  logLevel: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'
  /** Whoever set it wants it on a terminal too. */
  logLevelIsSet: boolean
  sandboxRequire: 'strict' | 'best'
  /** What skills may reach beyond public addresses (CIDRs), and what they may not reach at all (names too). */
  skillFetch: { allow: readonly string[]; deny: readonly string[] }
  concurrency: number
  /** null: for ever. */
  eventRetentionDays: number | null
  /** Where the process kills itself, and at which time that it gets there. */
  crashAt: { point: CrashPoint; after: number } | null
}

/** The text of .env.example. */
export function envExample(): string {
  const blocks = Object.entries<Variable>(variables).map(([name, { about, example, secret }]) => {
    const file = secret ? `# ${name}_FILE=/run/secrets/${name.toLowerCase()}\n` : ''
    return `# ${about}\n# ${name}=${example}\n${file}`
  })
  return `# Every variable that the server reads; all are optional.\n\n${blocks.join('\n')}`
}

type Source = Record<string, string | undefined>

/**
 * The configuration of the process, parsed once; the only reader of process.env.
 * @throws ConfigInvalid with every bad, unknown and contradictory variable at once. Values of secrets are not shown.
 */
export function loadEnv(source: Source = process.env): Env {
  const problems = unknownVariables(source)
  const read = <N extends keyof typeof variables>(name: N) => readVariable(name, source, problems)

  const appUrl = read('DATABASE_APP_URL')
  const systemUrl = read('DATABASE_SYSTEM_URL')
  if ((appUrl === undefined) !== (systemUrl === undefined)) {
    problems.push('DATABASE_APP_URL and DATABASE_SYSTEM_URL go together: set both or none')
  }
  const crashAt = read('AGENTOS_CRASH_AT')
  if (crashAt !== undefined && source.NODE_ENV !== 'test')
    problems.push('AGENTOS_CRASH_AT works only with NODE_ENV=test')

  const home = resolve(read('AGENTOS_HOME') ?? '.agentos')
  const databaseUrl = read('DATABASE_URL')
  const given = read('AGENTOS_SECRET')
  const env = {
    port: read('PORT') ?? 3000,
    portIsSet: Boolean(source.PORT),
    host: read('HOST') ?? '127.0.0.1',
    databaseUrl: secretOf(databaseUrl),
    databaseAppUrl: secretOf(appUrl),
    databaseSystemUrl: secretOf(systemUrl),
    redisUrl: secretOf(read('REDIS_URL')),
    trustProxy: read('TRUST_PROXY') ?? (false as const),
    allowedOrigins: read('ALLOWED_ORIGINS') ?? [],
    rateLimits: read('RATE_LIMITS') ?? null,
    home,
    vaultKeks: secretOf(read('VAULT_KEKS')),
    jwtIssuer: jwtIssuerOf(
      {
        issuer: read('JWT_ISSUER'),
        audience: read('JWT_AUDIENCE'),
        jwks: read('JWT_JWKS_URL'),
        typ: read('JWT_TYP'),
        hmac: read('SUPABASE_JWT_SECRET')
      },
      problems
    ),
    objectsDir: resolve(read('OBJECTS_DIR') ?? join(home, 'objects')),
    logLevel: read('LOG_LEVEL') ?? 'info',
    logLevelIsSet: Boolean(source.LOG_LEVEL),
    sandboxRequire: read('SANDBOX_REQUIRE') ?? 'best',
    skillFetch: { allow: read('SKILL_FETCH_ALLOW') ?? [], deny: read('SKILL_FETCH_DENY') ?? [] },
    concurrency: read('AGENTOS_CONCURRENCY') ?? 64,
    eventRetentionDays: read('EVENT_RETENTION_DAYS') ?? null,
    crashAt: crashAt ?? null
  }
  if (problems.length > 0) throw new ConfigInvalid(problems)
  return { ...env, secret: secretOf(given) ?? ownSecret(home) }
}

/** REDIS_URL alone, for the program that prints its ACL: no other variable has to be right. @throws ConfigInvalid */
export function loadRedisUrl(source: Source = process.env): Secret | null {
  const problems: string[] = []
  const url = secretOf(readVariable('REDIS_URL', source, problems))
  if (problems.length > 0) throw new ConfigInvalid(problems)
  return url
}

function secretOf(value: string | undefined): Secret | null {
  return value === undefined ? null : new Secret(value)
}

// An empty variable is an unset one: that is how compose files and shells unset them.
function readVariable<N extends keyof typeof variables>(
  name: N,
  source: Source,
  problems: string[]
): z.output<(typeof variables)[N]['schema']> | undefined {
  const { schema, example, about, secret = false }: Variable = variables[name]
  let text = source[name] || undefined
  const file = secret ? source[`${name}_FILE`] || undefined : undefined
  if (file !== undefined) {
    if (text !== undefined) {
      problems.push(`${name} and ${name}_FILE are both set: keep one`)
      return undefined
    }
    try {
      text = readFileSync(file, 'utf8').trim()
    } catch (error) {
      problems.push(`${name}_FILE: ${error instanceof Error ? error.message : String(error)}`)
      return undefined
    }
  }
  if (text === undefined) return undefined
  const result = schema.safeParse(text)
  if (result.success) return result.data as z.output<(typeof variables)[N]['schema']>
  const shown = secret ? 'its value (not shown)' : JSON.stringify(text)
  problems.push(
    `${file === undefined ? name : `${name}_FILE`}: ${shown} is not valid. ${about} Example: ${name}=${example}`
  )
  return undefined
}

// A misspelt AGENTOS_CONCURENCY would otherwise be a default that nobody notices.
function unknownVariables(source: Source): string[] {
  const known = Object.entries<Variable>(variables).flatMap(([name, { secret }]) =>
    secret ? [name, `${name}_FILE`] : [name]
  )
  return Object.keys(source)
    .filter((name) => name.startsWith('AGENTOS_') && !known.includes(name))
    .map(
      (name) =>
        `${name} is no variable of this server; known are ${known.filter((k) => k.startsWith('AGENTOS_')).join(', ')}`
    )
}

/** The secret in `$AGENTOS_HOME/secret`; made (mode 0600) when there is none. Two first boots at once agree on one. */
function ownSecret(home: string): Secret {
  const path = join(home, 'secret')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  if (!existsSync(path)) {
    // Linked when complete: another process that boots now must never read half a secret.
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
    try {
      linkSync(draft, path)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    } finally {
      unlinkSync(draft)
    }
  }
  const text = readFileSync(path, 'utf8').trim()
  if (!base64Of32.safeParse(text).success) {
    throw new ConfigInvalid([
      `${path} does not hold base64 of 32 bytes: bring back the file that this database was made with`
    ])
  }
  return new Secret(must(text, 'the secret'))
}
