// What a line of the log may carry: fields of these names, cut to these shapes. Whatever else an object holds is left
// out and counted (`dropped`): logging a request's body, a row or a library's config by mistake shows nothing of it.
import { AppError } from '#core/errors.ts'
import { isId } from '#core/ids.ts'
import { scrub } from '#core/scrub.ts'

/** Names of fields that hold a short text, a number, a boolean, null, or a list of those. */
const named = new Set(
  `actor actorId actors as attached attempt attempts batch bytes calls cellId cells check code connection consumer
  count dead delay detected dir epoch error eventId events failed fault file from group hits host hostId id jail
  job kekVersion keyId kind lag level limit limitMs limits loginId method migration missing ms namespaces
  noNewPrivs notice objects pauseMs permission phase pid port prefix queue reason records reqId requestId
  retryAfterMs rewrapped role room rooms route rows rssPoll running seq sessionId signal size skillId slot state
  status stderr step steps streamId table tables tenantId toEpoch total type uid url userId version waiting
  warning window`.split(/\s+/)
)

const MAX_TEXT = 1000
const MAX_LIST = 100
const MAX_STACK = 8000
const MAX_CAUSES = 5

/** Adds names of fields that a room of its own logs; their values are ids, counts and names, never what a tenant wrote. */
export function nameLogFields(...names: string[]): void {
  for (const name of names) named.add(name)
}

/** Whether a field of this name is logged. */
export function isLogField(name: string): boolean {
  return named.has(name) || Object.hasOwn(shapes, name)
}

/** The fields that may be logged, in their shapes; `dropped` says how many others there were. */
export function cutFields(fields: object): Record<string, unknown> {
  const cut: Record<string, unknown> = {}
  let dropped = 0
  for (const [name, value] of Object.entries(fields)) {
    const shape = Object.hasOwn(shapes, name) ? shapes[name] : undefined
    if (value === undefined) continue
    if (shape) cut[name] = shape(value)
    else if (named.has(name) && (isScalar(value) || Array.isArray(value))) cut[name] = cutValue(value)
    else dropped++
  }
  if (dropped > 0) cut.dropped = dropped
  return cut
}

const shapes: Record<string, (value: unknown) => unknown> = {
  req: (value) => cutRequest(Object(value)),
  res: (value) => ({ status: Object(value).statusCode }),
  err: (value) => cutError(value),
  error: (value) => (isScalar(value) ? cutValue(value) : cutError(value))
}

/** At most `max` characters. Scrubbed before it is cut: half a secret would not be found afterwards. */
export function cutText(text: string, max: number): string {
  return text.length <= max ? text : `${scrub(text).slice(0, max)}…`
}

function cutValue(value: unknown): unknown {
  if (Array.isArray(value))
    return value.slice(0, MAX_LIST).map((item) => (isScalar(item) ? cutValue(item) : '[object]'))
  return typeof value === 'string' ? cutText(value, MAX_TEXT) : typeof value === 'bigint' ? String(value) : value
}

function isScalar(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean', 'bigint'].includes(typeof value)
}

interface LoggedRequest {
  id?: string
  method?: string
  ip?: string
  params?: unknown
  routeOptions?: { url?: string }
}

// The route and its ids, not the path: paths hold names that tenants chose and one-time tokens, queries hold cursors and,
// by mistake of clients, keys.
function cutRequest({ id, method, ip, params, routeOptions }: LoggedRequest) {
  const ids = Object.entries(Object(params)).filter(([, value]) => isId(value))
  return { id, method, route: routeOptions?.url, ...(ids.length > 0 ? { ids: Object.fromEntries(ids) } : {}), ip }
}

/** Only named fields: errors of libraries carry configs, queries, rows and bodies. */
function cutError(error: unknown, depth = 0, quotes = holdsValues(error)): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: isScalar(error) ? cutText(String(error), MAX_TEXT) : '[object]' }
  const code = 'code' in error && isScalar(error.code) ? String(error.code) : undefined
  const deeper = depth < MAX_CAUSES // a cause may be a cycle
  return {
    type: error.name,
    message: cutText(messageOf(error, quotes), MAX_TEXT),
    ...(code === undefined ? {} : { code }),
    ...namesOf(error),
    stack: framesOf(error),
    ...(error.cause === undefined || !deeper ? {} : { cause: cutError(error.cause, depth + 1, quotes) }),
    ...(error instanceof AggregateError && deeper
      ? { errors: error.errors.slice(0, 10).map((one) => cutError(one, depth + 1)) }
      : {})
  }
}

// An error below 500 speaks to the client, in words made of what the client sent: here its code is enough.
function messageOf(error: Error, quotes: boolean): string {
  if (error instanceof AppError && error.status < 500) return error.code
  return quotes ? error.message.replaceAll(/"[^"]*"/g, '"…"') : error.message
}

// SQLSTATE class 22, data exceptions: PostgreSQL quotes the value ('invalid input syntax for type uuid: "..."').
function holdsValues(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || depth > MAX_CAUSES) return false
  if ('code' in error && /^22[0-9A-Z]{3}$/.test(String(error.code))) return true
  return holdsValues(error.cause, depth + 1)
}

/** Where in the schema an error of PostgreSQL happened; not its `detail`, which quotes the row. */
function namesOf(error: Error): Record<string, string> {
  const names: Record<string, string> = {}
  for (const key of ['schema_name', 'table_name', 'constraint_name', 'routine', 'severity']) {
    const value = (error as unknown as Record<string, unknown>)[key]
    if (typeof value === 'string') names[key] = value.slice(0, 100)
  }
  return names
}

// Without its first lines, which repeat the message.
function framesOf(error: Error): string | undefined {
  const frames = error.stack?.split('\n').filter((line) => /^\s+at /.test(line))
  return frames && cutText(frames.join('\n'), MAX_STACK)
}
