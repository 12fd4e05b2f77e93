import { defineError } from '#core/errors.ts'

/** @param why for our log: the client only hears that it may try again */
export const Overloaded = defineError('HOST_OVERLOADED', 503, (why: string) => ({
  message: `this host has too much to do: ${why}`,
  retryAfterMs: 2000
}))

export const HeadersTooMany = defineError('REQUEST_HEADERS_TOO_MANY', 431, (most: number) => ({
  message: `the request has more than ${most} headers`,
  details: { most }
}))
