// One class per failure, each with a code that never changes: clients switch on the code, people read the message.

/** One invalid place in a request: `pointer` is an RFC 6901 JSON pointer ("" is the whole body). */
export interface FieldError {
  pointer: string
  detail: string
}

/**
 * Base of every error that may reach a client. `message` is for people, `details` for machines.
 * With `status` >= 500 neither message nor cause leaves the process: they are logged, the client gets the code.
 */
export class AppError extends Error {
  readonly code: string
  readonly status: number
  readonly details?: Record<string, unknown>
  /** How long a client should wait before it tries again (Retry-After, `retryAfterMs` on the WebSocket). */
  readonly retryAfterMs?: number

  constructor(code: string, status: number, content: string | ErrorContent) {
    const { message, details, retryAfterMs, cause } = typeof content === 'string' ? { message: content } : content
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'AppError'
    this.code = code
    this.status = status
    if (details !== undefined) this.details = details
    if (retryAfterMs !== undefined) this.retryAfterMs = retryAfterMs
  }
}

export interface ErrorContent {
  message: string
  details?: Record<string, unknown>
  retryAfterMs?: number
  cause?: unknown
}

export type AppErrorClass<A extends unknown[]> = (new (
  ...args: A
) => AppError) & {
  readonly code: string
  readonly status: number
}

const catalogue = new Map<string, number>()

/**
 * Declares one error class with a stable code and enters it in the catalogue that docs/errors.md is made from.
 * @param code `ROOM_WHAT_HAPPENED`, unique in the process
 * @param status the HTTP status (100 to 599); WebSocket error frames carry the same number
 * @param message builds text (and details, retryAfterMs, cause) from the constructor's arguments
 * @throws Error when the code is malformed or declared twice
 */
export function defineError<A extends unknown[]>(
  code: string,
  status: number,
  message: (...args: A) => string | ErrorContent
): AppErrorClass<A> {
  if (!/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/.test(code)) throw new Error(`error code ${code} is not of the form ROOM_WHAT`)
  if (catalogue.has(code)) throw new Error(`error code ${code} is declared twice`)
  catalogue.set(code, status)
  return class extends AppError {
    static readonly code = code
    static readonly status = status
    constructor(...args: A) {
      super(code, status, message(...args))
      this.name = code
    }
  }
}

/** Every declared error of the modules loaded so far, by code. */
export function errorCatalogue(): { code: string; status: number }[] {
  return [...catalogue].map(([code, status]) => ({ code, status })).sort((a, b) => (a.code < b.code ? -1 : 1))
}

/** A defect of ours: something that cannot be absent was. */
export const Internal = defineError('INTERNAL_ERROR', 500, (message: string, cause?: unknown) => ({ message, cause }))

/** Also for a row of another tenant: absent and foreign must look the same. */
export const NotFound = defineError('RESOURCE_NOT_FOUND', 404, (what: string) => `${what} not found`)

/** A request whose parts are well formed and wrong: `errors` says where. */
export const RequestInvalid = defineError('REQUEST_INVALID', 400, (errors: FieldError[]) => ({
  message: errors.map((e) => (e.pointer ? `${e.pointer}: ${e.detail}` : e.detail)).join('; ') || 'invalid request',
  details: { errors }
}))

/** Short text of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
