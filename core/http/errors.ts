import { defineError } from '#core/errors.ts'

export const BodyMalformed = defineError('REQUEST_BODY_MALFORMED', 400, (position: number, why: string) => ({
  message: `the JSON is malformed at position ${position}: ${why}`,
  details: { position }
}))

export const TooLarge = defineError('REQUEST_TOO_LARGE', 413, (maxBytes: number) => ({
  message: `the body is larger than ${maxBytes} bytes`,
  details: { maxBytes }
}))

export const MediaTypeUnsupported = defineError('REQUEST_MEDIA_TYPE_UNSUPPORTED', 415, (given: string) =>
  given ? `content type "${given}" is not accepted here: send application/json` : 'the body has no content type'
)

/** Whatever else is wrong with the request itself: a bad URL, a broken length, a missing part. */
export const Refused = defineError('REQUEST_REFUSED', 400, (why: string) => why)

export const RouteNotFound = defineError('ROUTE_NOT_FOUND', 404, (path: string) => `there is no ${path}`)

export const MethodNotAllowed = defineError('ROUTE_METHOD_NOT_ALLOWED', 405, (method: string, allowed: string[]) => ({
  message: `${method} is not allowed here: ${allowed.join(', ')}`,
  details: { allowed }
}))

export const ResponseInvalid = defineError('RESPONSE_INVALID', 500, (route: string, cause: unknown) => ({
  message: `the answer of ${route} does not fit its own schema`,
  cause
}))

/** A deadlock, a serialization failure or a statement that took too long: the same request may work in a moment. */
export const DatabaseBusy = defineError('DB_BUSY', 503, (cause: unknown) => ({
  message: 'the database refused to go on with this transaction',
  retryAfterMs: 1000,
  cause
}))

export const CursorInvalid = defineError('REQUEST_CURSOR_INVALID', 400, () => ({
  message: 'the cursor is not one that this list gave out',
  details: { errors: [{ in: 'query', pointer: '/cursor', detail: 'not a cursor of this list' }] }
}))

export const IdempotencyKeyInvalid = defineError(
  'IDEMPOTENCY_KEY_INVALID',
  400,
  () => 'Idempotency-Key must be 1 to 255 visible ASCII characters'
)

export const IdempotencyInFlight = defineError('IDEMPOTENCY_IN_FLIGHT', 409, () => ({
  message: 'a request with this Idempotency-Key is being worked on',
  retryAfterMs: 1000
}))

export const IdempotencyKeyReused = defineError(
  'IDEMPOTENCY_KEY_REUSED',
  422,
  () => 'this Idempotency-Key was used for another request'
)

/** @param location where the thing is that the first request made */
export const IdempotencyShownOnce = defineError('IDEMPOTENCY_SHOWN_ONCE', 409, (location: string | undefined) => ({
  message:
    'this request was carried out before; the secret in its answer was shown then and is kept nowhere: ' +
    'revoke what it made and ask again with a new Idempotency-Key',
  details: { ...(location === undefined ? {} : { location }) }
}))
