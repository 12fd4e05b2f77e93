import { Internal } from '#core/errors.ts'

/**
 * The value, known to be there: the place of a non-null assertion, with a name in the message.
 * @throws Internal (500) naming `what` when it is not there after all
 */
export function must<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Internal(`${what} is missing`)
  return value
}
