import { readFileSync } from 'node:fs'
import { errorMessage } from '#core/errors.ts'
import { LimitTable } from '#core/http/limits/index.ts'
import { fieldErrors } from '#core/http/validation.ts'
import { ConfigInvalid } from './env.ts'

/**
 * Requests a minute, by plan and by address: those of limits.json, or the operator's own.
 * @param path RATE_LIMITS; null for ours
 * @throws ConfigInvalid naming the file and each place in it that is wrong
 */
export function loadLimits(path: string | null): LimitTable {
  const file = path ?? new URL('./limits.json', import.meta.url)
  let given: unknown
  try {
    given = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new ConfigInvalid([`RATE_LIMITS: ${errorMessage(error)}`])
  }
  const parsed = LimitTable.safeParse(given)
  if (parsed.success) return parsed.data
  throw new ConfigInvalid(
    fieldErrors(parsed.error).map(({ pointer, detail }) => `RATE_LIMITS: ${path} ${pointer || '/'}: ${detail}`)
  )
}
