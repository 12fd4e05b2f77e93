// A tenant with a call now and then, alone and beside a tenant with 1,000 queued calls: heavy ones (50 ms of CPU each), and
// light ones. The crowd is topped up while it is measured, and cancelled afterwards.
import { systemClock } from '#core/clock.ts'
import type { Sandbox } from '#sandbox/index.ts'
import { call } from './ours.ts'

export const HEAVY =
  'export function run() { let x = 0; for (let i = 0; i < 4e7; i++) x = (x + i * 7) % 1000003; return x }'
const QUEUED = 1000
const PAUSE_MS = 3
const SETTLE_MS = 400

/** @returns ms of each of the quiet tenant's calls */
export async function quiet(box: Sandbox, calls: number, crowd?: { source: string | undefined }): Promise<number[]> {
  const stop = new AbortController()
  const running: Promise<unknown>[] = []
  if (crowd) {
    const { source } = crowd
    const more = async (n: number) => {
      const wish = { tenantId: 'crowd', sessionId: `c${n % 16}`, signal: stop.signal, ...(source ? { source } : {}) }
      while (!stop.signal.aborted) await box.run(call(wish)).catch(() => undefined)
    }
    for (let n = 0; n < QUEUED; n++) running.push(more(n))
    await systemClock.sleep(SETTLE_MS)
  }
  const latencies: number[] = []
  for (let n = 0; n < calls; n++) {
    const began = performance.now()
    await box.run(call({ tenantId: 'quiet' }))
    latencies.push(performance.now() - began)
    await systemClock.sleep(PAUSE_MS)
  }
  stop.abort()
  await Promise.all(running)
  return latencies
}
