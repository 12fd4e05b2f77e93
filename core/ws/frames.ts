import { z } from 'zod'
import { wireEvent } from '#core/bus/wire.ts'
import type { AppError } from '#core/errors.ts'
import { RequestInvalid } from '#core/errors.ts'
import type { StoredEvent } from '#core/events.ts'
import { parseJson } from '#core/http/json.ts'
import { problemOf } from '#core/http/problem.ts'
import { fieldErrors, refuseUnstorable } from '#core/http/validation.ts'
import { scrubJson, textsOf } from '#core/scrub.ts'
import { FrameMalformed } from './errors.ts'

/** What a client sends. */
export const RequestFrame = z.strictObject({
  id: z.string().min(1).max(128),
  method: z.string().min(1).max(64),
  params: z.record(z.string(), z.unknown()).optional()
})
export type RequestFrame = z.output<typeof RequestFrame>

/** Bytes; `ws` itself closes with 1009 above. */
export const MAX_FRAME_BYTES = 1024 * 1024

/** Close codes of docs/spec/wire.md. */
export const Close = {
  protocol: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  noHello: 4408,
  slow: 4008,
  tooMany: 4429,
  goingDown: 1012
} as const

/** @throws WS_FRAME_MALFORMED saying where */
export function parseFrame(text: string): RequestFrame {
  let value: unknown
  try {
    value = parseJson(text)
  } catch (error) {
    throw new FrameMalformed(error instanceof Error ? error.message : 'not JSON')
  }
  const parsed = RequestFrame.safeParse(value)
  if (parsed.success) return parsed.data
  const { pointer, detail } = fieldErrors(parsed.error)[0] ?? { pointer: '', detail: 'not a request' }
  throw new FrameMalformed(pointer ? `${pointer}: ${detail}` : detail)
}

/** @throws REQUEST_INVALID with pointers into the frame (`/params/...`) */
export function parseParams<T>(schema: z.ZodType<T>, params: Record<string, unknown> | undefined): T {
  refuseUnstorable(params, undefined, '/params')
  const parsed = schema.safeParse(params ?? {})
  if (!parsed.success) throw new RequestInvalid(fieldErrors(parsed.error, '/params'))
  return parsed.data
}

export function resultFrame(id: string, result: unknown): string {
  return JSON.stringify({ id, result: result ?? {} }, bigintsAsText)
}

/**
 * @param id null when the frame had none that could be read
 * @param said the frame that is answered
 */
export function errorFrame(id: string | null, error: AppError, requestId: string, said?: RequestFrame): string {
  const { code, status, detail } = problemOf(error, requestId)
  const details = status < 500 && error.details ? { details: error.details } : {}
  const retry = error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }
  const hint = status >= 500 ? { requestId } : {}
  const shown = JSON.stringify({ code, status, message: detail, ...retry, ...details, ...hint }, bigintsAsText)
  return `{"id":${JSON.stringify(id)},"error":${scrubJson(shown, () => textsOf(said))}}` // the id is the client's own
}

// One text per event, however many sockets it goes to; it leaves with the event.
const texts = new WeakMap<StoredEvent, string>()

/** The event as it goes over the wire; `subscription` says which of the connection's subscriptions it is for. */
export function eventFrame(event: StoredEvent, subscription: string): string {
  let text = texts.get(event)
  if (text === undefined) {
    text = JSON.stringify(wireEvent(event)).slice(0, -1)
    texts.set(event, text)
  }
  return `${text},"subscription":"${subscription}"}`
}

export function batchFrame(frames: string[]): string {
  return frames.length === 1 && frames[0] !== undefined ? frames[0] : `{"events":[${frames.join(',')}]}`
}

function bigintsAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}
