import { uuidv7 } from 'uuidv7'

/** A UUIDv7: 48 bits of milliseconds, then a counter, so ids of one process rise even inside a millisecond. */
export function newId(): string {
  return uuidv7()
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** True for a UUID in lower case, the only form that we give out. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && uuid.test(value)
}
