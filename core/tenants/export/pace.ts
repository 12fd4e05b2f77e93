import { once } from 'node:events'
import type { PassThrough } from 'node:stream'
import type { Clock } from '#core/clock.ts'
import type { Write } from './write.ts'

/** A client that takes nothing for so long is cut off: two of them would keep everybody else from exporting. */
const STALLED_MS = 120_000
/** And one that takes a little all the time: a snapshot keeps vacuum waiting. */
const LONGEST_MS = 3_600_000

/** Writes as fast as the client takes it, and no longer than it may take; then `out` is destroyed and writing throws. */
export function pacedWriter(out: PassThrough, clock: Clock): Write {
  let why = new Error('the client left')
  out.on('error', (error) => {
    why = error
  })
  const late = clock.after(LONGEST_MS, () => out.destroy(new Error('the client took more than an hour')))
  out.once('close', () => late.cancel())
  return async (text) => {
    if (out.destroyed) throw why
    if (out.write(text)) return
    const left = new AbortController()
    const gone = () => left.abort()
    const stalled = clock.after(STALLED_MS, () => {
      out.destroy(new Error('the client took nothing for two minutes'))
    })
    out.once('close', gone)
    try {
      await once(out, 'drain', { signal: left.signal })
    } catch {
      throw why
    } finally {
      stalled.cancel()
      out.off('close', gone)
    }
  }
}
