import { type DestinationStream, type Logger, pino } from 'pino'
import { AppError } from '#core/errors.ts'
import { liveSecrets } from '#core/secret.ts'

export type Log = Logger

/**
 * The process's log: JSON lines, objects cut to named fields, and every finished line scrubbed of living secrets and
 * of what looks like one. (pino's `redact` alone misses nested fields, message texts and error causes.)
 * @param destination default stderr: stdout is for what people and scripts read
 */
export function createLog(options: { level?: string; destination?: DestinationStream } = {}): Log {
  const out = options.destination ?? pino.destination({ dest: 2, sync: true })
  return pino(
    {
      level: options.level ?? 'info',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: sensitive.flatMap((name) => [name, `*.${name}`]), censor: '[secret]' },
      serializers: { req: serializeRequest, res: serializeReply, err: serializeError, error: serializeError }
    },
    { write: (line: string) => out.write(scrub(line)) }
  )
}

const sensitive = ['password', 'secret', 'token', 'apiKey', 'authorization', 'cookie']

interface LoggedRequest {
  id?: string
  method?: string
  url?: string
  ip?: string
  routeOptions?: { url?: string }
}

// The path without its query: queries carry cursors and, by mistake of clients, tokens.
function serializeRequest(request: LoggedRequest) {
  return {
    id: request.id,
    method: request.method,
    path: request.url?.split('?', 1)[0],
    route: request.routeOptions?.url,
    ip: request.ip
  }
}

function serializeReply(reply: { statusCode?: number }) {
  return { status: reply.statusCode }
}

// Depth-limited: a cause may be a cycle. Only named fields: errors of libraries carry configs and bodies.
function serializeError(error: unknown, depth = 0): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) }
  const code = error instanceof AppError ? error.code : 'code' in error ? String(error.code) : undefined
  return {
    type: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    stack: error.stack,
    ...(error.cause === undefined || depth > 4 ? {} : { cause: serializeError(error.cause, depth + 1) }),
    ...(error instanceof AggregateError && depth <= 4
      ? { errors: error.errors.slice(0, 10).map((e) => serializeError(e, depth + 1)) }
      : {})
  }
}

const patterns: RegExp[] = [
  /\bak_[a-z]+_[0-9A-Za-z]{8}_[0-9A-Za-z_]{20,}/g, // our API keys
  /\bwhsec_[0-9A-Za-z+/=_-]{8,}/g, // Standard Webhooks
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, // JWT
  /\bsk-[\w-]{16,}/g, // model providers
  /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g, // AWS
  /-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?="|$))/gs,
  /(?<=\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*:)[^\s@/"]+(?=@)/g // the password of a URL
]

// A shorter value would blank ordinary words ("dev", "1") out of every line.
const shortestSecret = 8

/** A finished line without living secrets (plain, JSON-escaped, URL-encoded, base64) and without known key shapes. */
export function scrub(line: string): string {
  let clean = line
  for (const secret of liveSecrets()) {
    if (secret.length < shortestSecret) continue
    for (const form of formsOf(secret)) if (clean.includes(form)) clean = clean.replaceAll(form, '[secret]')
  }
  for (const pattern of patterns) clean = clean.replace(pattern, '[secret]')
  return clean
}

const forms = new Map<string, string[]>()

function formsOf(secret: string): string[] {
  let known = forms.get(secret)
  if (!known) {
    // Bounded like any cache; dropping it whole only costs the work again.
    if (forms.size > 1000) forms.clear()
    const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '')
    const base64url = Buffer.from(secret).toString('base64url')
    known = [...new Set([secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), base64, base64url])]
    forms.set(secret, known)
  }
  return known
}
