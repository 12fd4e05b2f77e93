import { z } from 'zod'

const FIRST = Date.parse('1000-01-01T00:00:00Z')
const LAST = Date.parse('9998-12-31T23:59:59.999Z')

/**
 * An instant as clients send it: RFC 3339 with Z or any offset; what comes out is the same instant in UTC. Postgres has
 * no year 0, and what it says of a year before 100 is read as one of 1950 to 2049 (V8's reading of texts that are not
 * quite ISO): so the instant, not its text, must be in the years 1000 to 9998.
 */
export const Timestamp = z.iso.datetime({ offset: true }).transform((text, context) => {
  const at = Date.parse(text)
  if (at >= FIRST && at <= LAST) return new Date(at).toISOString()
  context.addIssue({ code: 'custom', message: 'must be in the years 1000 to 9998 (UTC)' })
  return z.NEVER
})
