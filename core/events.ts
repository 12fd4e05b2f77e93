import type { ZodType } from 'zod'
import { defineError } from '#core/errors.ts'

/** The JSON of one event's `data` is at most this long (docs/spec/wire.md). */
export const MAX_EVENT_BYTES = 16 * 1024

/** `tenant`: the sender's own stream. `platform`: one stream for all, shown without a tenant. */
export type StreamKind = 'tenant' | 'platform'

/** A declared event. `type` is its full name, `subject` the family of ids that it is about (`session` -> `session:<id>`). */
export interface EventType<T = unknown> {
  readonly type: string
  readonly subject: string
  readonly data: ZodType<T>
  readonly stream: StreamKind
}

/** One event before it is written. `tenantId` only where the transaction is the system's and has no tenant of its own. */
export interface PendingEvent {
  type: EventType
  subjectId: string
  data: unknown
  tenantId?: string
}

/**
 * One event as it left the relay. `seq` rises by one per stream; `subject` is `<family>:<id>`; `at` is ISO 8601 UTC.
 * `tenantId` is null on the platform stream: who published stays with the row.
 */
export interface StoredEvent {
  id: string
  seq: bigint
  tenantId: string | null
  stream: StreamKind
  type: string
  subject: string
  at: string
  data: Record<string, unknown>
}

/** A pending event that passed its schema: what emit writes. `json` is the text of its data. */
export interface CheckedEvent {
  stream: StreamKind
  type: string
  subject: string
  json: string
  tenantId: string | null
}

export const EventTypeTaken = defineError('EVENT_TYPE_TAKEN', 500, (type: string) => `event ${type} is declared twice`)
export const EventTypeMalformed = defineError(
  'EVENT_TYPE_MALFORMED',
  500,
  (type: string) => `event name ${JSON.stringify(type)} must be like owner.past_tense`
)
export const EventInvalid = defineError('EVENT_INVALID', 500, (type: string, cause: unknown) => ({
  message: `data of event ${type} does not fit its own schema`,
  cause
}))
export const EventTooLarge = defineError('EVENT_TOO_LARGE', 413, (type: string, bytes: number) => ({
  message: `data of event ${type} is ${bytes} bytes, ${MAX_EVENT_BYTES} are allowed`,
  details: { type, bytes, maxBytes: MAX_EVENT_BYTES }
}))

const NAME = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/
const FAMILY = /^[a-z][a-z0-9_]*$/
const registry = new Map<string, EventType>()

/**
 * Declares an event once for the process; docs/events.md is made of all that were declared.
 * @param options.subject family of the ids it is about, e.g. `session`
 * @throws EVENT_TYPE_TAKEN, EVENT_TYPE_MALFORMED
 */
export function defineEvent<T>(
  type: string,
  options: { subject: string; data: ZodType<T>; stream?: StreamKind }
): EventType<T> {
  if (!NAME.test(type)) throw new EventTypeMalformed(type)
  if (!FAMILY.test(options.subject)) throw new EventTypeMalformed(`${options.subject}:`)
  if (registry.has(type)) throw new EventTypeTaken(type)
  const declared = { type, subject: options.subject, data: options.data, stream: options.stream ?? 'tenant' } as const
  registry.set(type, declared)
  return declared
}

/** Every declared event, by name. */
export function eventCatalogue(): EventType[] {
  return [...registry.values()].sort((a, b) => (a.type < b.type ? -1 : 1))
}

/** A pending event whose data is held to its type by the compiler. */
export function pending<T>(type: EventType<T>, subjectId: string, data: T, tenantId?: string): PendingEvent {
  return tenantId === undefined ? { type, subjectId, data } : { type, subjectId, data, tenantId }
}

/**
 * Holds an event to its schema and to the size limit, before it costs a round trip.
 * @throws EVENT_INVALID (a bug of the sender), EVENT_TOO_LARGE
 */
export function checkEvent(event: PendingEvent): CheckedEvent {
  const { type, subject, stream, data } = event.type
  const parsed = data.safeParse(event.data)
  if (!parsed.success) throw new EventInvalid(type, parsed.error)
  const json = JSON.stringify(parsed.data)
  const bytes = Buffer.byteLength(json)
  if (bytes > MAX_EVENT_BYTES) throw new EventTooLarge(type, bytes)
  return { stream, type, subject: `${subject}:${event.subjectId}`, json, tenantId: event.tenantId ?? null }
}
