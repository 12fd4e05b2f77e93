import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refused } from '#core/http/errors.ts'
import { parseJson } from '#core/http/json.ts'
import { problemOf, sendProblem } from '#core/http/problem.ts'
import type { RouteGuard } from '#core/http/route-guard.ts'
import { refuseUnstorable } from '#core/http/validation.ts'
import { newId } from '#core/ids.ts'
import type { App } from '#core/plugin.ts'
import { looksLikeKey } from '#core/scrub.ts'

/**
 * The caller's X-Request-Id when it is short, plain and of no key's shape (it goes into logs, headers and rows), else a new
 * id. Never by what secrets there are: whether a guess was taken would tell that it is one.
 */
export function requestId(raw: Pick<IncomingMessage, 'headers'>): string {
  const given = raw.headers['x-request-id']
  const plain = typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given)
  return plain && !looksLikeKey(given) ? given : newId()
}

/** JSON is the only body that is read unless a room adds a parser in its own scope. */
export function acceptJson(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: FastifyRequest, body: string) =>
    // Clients send the header with an empty body on POSTs that take none.
    body === '' ? undefined : parseJson(body)
  )
}

/** Every text of a request, whether its route has a schema or not, before any handler. */
export function acceptStorable(app: App): void {
  app.addHook('preValidation', async ({ params, query, body }) => {
    refuseUnstorable(params, 'path')
    refuseUnstorable(query, 'query')
    refuseUnstorable(body)
  })
}

export function sendNotFound(routes: RouteGuard, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const error = routes.notFound(request.method, request.url)
  const allowed = error.details?.allowed
  if (Array.isArray(allowed)) reply.header('allow', allowed.join(', '))
  return sendProblem(error, request, reply)
}

/** Bytes that are no HTTP: there is no request yet, so the answer is written to the socket. */
export function sendClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy()
  const id = newId()
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const status = tooLarge ? '431 Request Header Fields Too Large' : late ? '408 Request Timeout' : '400 Bad Request'
  const problem = {
    ...problemOf(new Refused('this is not a valid HTTP request'), id),
    status: Number.parseInt(status, 10)
  }
  problem.title = status.slice(4)
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/problem+json\r\nx-request-id: ${id}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
  )
}
