import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { ResponseSerializationError } from 'fastify-type-provider-zod'
import { DatabaseUnavailable } from '#core/db/errors.ts'
import { AppError, errorMessage, Internal } from '#core/errors.ts'
import { DatabaseBusy, MediaTypeUnsupported, Refused, ResponseInvalid, TooLarge } from '#core/http/errors.ts'
import type { Log } from '#core/log.ts'
import { scrubJson, textsOf } from '#core/scrub.ts'

/** RFC 9457, plus `code` (stable), `requestId` and whatever the error's details hold (`errors`, `limit`, ...). */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: string
  requestId: string
  [more: string]: unknown
}

/** What the client is told: of a 5xx only the code, and that it may quote the request id. */
export function problemOf(error: AppError, requestId: string): Problem {
  const hidden = error.status >= 500
  return {
    ...(hidden ? {} : error.details),
    type: `urn:agentos:error:${error.code}`,
    title: STATUS_CODES[error.status] ?? 'Error',
    status: error.status,
    detail: hidden ? hiddenDetail(error.status) : error.message,
    code: error.code,
    requestId
  }
}

/** The problem as JSON. Scrubbed: messages are made of input, of names and, below, of what libraries say. */
function problemText(error: AppError, request: FastifyRequest): string {
  // A body that did not parse is not here: its errors quote positions, never text.
  const said = () => textsOf([decode(request.url), request.url, request.headers, request.body])
  return scrubJson(JSON.stringify(problemOf(error, request.id)), said)
}

function decode(url: string): string {
  try {
    return decodeURIComponent(url)
  } catch {
    return url
  }
}

function hiddenDetail(status: number): string {
  return status === 503
    ? 'The service cannot answer just now; try again.'
    : 'Something failed on our side; the request id finds it in our log.'
}

/** Fastify's error handler. 5xx are logged with cause and stack, 4xx at debug level. */
export function sendProblem(thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const error = toAppError(thrown, request)
  logError(request.log, error)
  if (error.retryAfterMs !== undefined) reply.header('retry-after', Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
  if (error.status === 401) reply.header('www-authenticate', 'Bearer realm="agentos"')
  return (
    reply
      .status(error.status)
      .type('application/problem+json')
      .header('x-request-id', request.id)
      // A string: the route's response schema for this status is not meant for problems.
      .send(problemText(error, request))
  )
}

export function logError(log: Pick<Log, 'error' | 'debug'>, error: AppError): void {
  const { code, status, cause } = error
  if (status >= 500) log.error({ err: error, code }, 'a request failed')
  // Below 500 the message is the client's and made of what he sent: he has it, under the same request id.
  else log.debug({ code, status, ...(typeof cause === 'string' ? { reason: cause } : {}) }, 'a request was refused')
}

/** Anything thrown, as one of our errors; what we do not know is a 500. */
export function toAppError(thrown: unknown, request?: Pick<FastifyRequest, 'headers' | 'method' | 'url'>): AppError {
  if (thrown instanceof AppError) return thrown
  if (thrown instanceof ResponseSerializationError) {
    return new ResponseInvalid(`${thrown.method} ${thrown.url}`, thrown.cause)
  }
  const code = codeOf(thrown)
  if (code !== undefined) {
    if (unreachable.test(code)) return new DatabaseUnavailable(errorMessage(thrown), thrown)
    if (busy.has(code)) return new DatabaseBusy(thrown)
  }
  if (thrown instanceof Error && isClientFault(thrown)) return ofFastify(thrown, request)
  return new Internal(errorMessage(thrown), thrown)
}

// postgres.js's own codes, the socket's, and SQLSTATE classes 08 (connection), 53 (resources), 57P (shutting down).
const unreachable =
  /^(CONNECT_TIMEOUT|CONNECTION_(CLOSED|ENDED|DESTROYED)|ECONNREFUSED|ECONNRESET|EPIPE|08\w{3}|53\w{3}|57P0\d)$/
// serialization_failure, deadlock_detected, lock_not_available, query_canceled (statement_timeout)
const busy = new Set(['40001', '40P01', '55P03', '57014'])

function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined
}

function isClientFault(error: Error): error is FastifyError {
  return (
    'statusCode' in error && typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500
  )
}

function ofFastify(error: FastifyError, request?: Pick<FastifyRequest, 'headers'>): AppError {
  if (error.statusCode === 413) return new TooLarge(limitOf(error))
  if (error.statusCode === 415) return new MediaTypeUnsupported(request?.headers['content-type'] ?? '')
  return new Refused(error.message)
}

/** Bytes; the same for a WebSocket frame, a tool's input and its result. */
export const bodyLimit = 1024 * 1024

function limitOf(error: FastifyError): number {
  return 'limit' in error && typeof error.limit === 'number' ? error.limit : bodyLimit
}
