import { systemClock } from '#core/clock.ts'

/**
 * Waits for a condition, asking every few milliseconds.
 * @throws Error naming `what` after 20 s
 */
export async function until(met: () => unknown, what: string): Promise<void> {
  const end = systemClock.monotonic() + 20_000
  while (!(await met())) {
    if (systemClock.monotonic() > end) throw new Error(`never happened: ${what}`)
    await systemClock.sleep(3)
  }
}
