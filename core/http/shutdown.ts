import closeWithGrace from 'close-with-grace'
import type { Clock } from '#core/clock.ts'
import { errorMessage } from '#core/errors.ts'
import type { Log } from '#core/log.ts'

/**
 * The way down, in this order; the number is how many milliseconds a phase may take before the next one starts.
 * They add up to less than the 25 s after which the process ends anyhow. Steps of one phase run side by side.
 */
const phases = {
  'not-ready': 500, // /readyz says 503: balancers look elsewhere
  'stop-claiming': 1500, // no new work is taken
  'close-sockets': 2000, // WebSockets and streams end with a retry hint
  drain: 10_000, // requests and steps in flight may finish
  'release-leases': 3000, // what is not finished goes to another host at once
  'close-pools': 3500,
  'stop-database': 4000 // the embedded one, last: everything above still writes
} as const

export type Phase = keyof typeof phases
type Step = (signal: AbortSignal) => Promise<unknown> | unknown

export class Shutdown {
  readonly #clock: Clock
  readonly #log: Log
  readonly #steps: { phase: Phase; name: string; run: Step }[] = []
  #running: Promise<void> | null = null

  constructor(options: { clock: Clock; log: Log }) {
    this.#clock = options.clock
    this.#log = options.log
  }

  /** @param run its signal is aborted when the phase's time is over; a failure is logged and stops nothing */
  step(phase: Phase, name: string, run: Step): void {
    this.#steps.push({ phase, name, run })
  }

  /** Goes down once, however often it is asked. Never rejects. */
  run(reason: string): Promise<void> {
    this.#running ??= this.#down(reason)
    return this.#running
  }

  async #down(reason: string): Promise<void> {
    const started = this.#clock.monotonic()
    this.#log.info({ reason }, 'going down')
    for (const [phase, limitMs] of Object.entries(phases)) {
      const steps = this.#steps.filter((step) => step.phase === phase)
      if (steps.length > 0) await this.#phase(phase, steps, limitMs)
    }
    this.#log.info({ ms: Math.round(this.#clock.monotonic() - started) }, 'down')
  }

  async #phase(phase: string, steps: { name: string; run: Step }[], limitMs: number): Promise<void> {
    const late = new AbortController()
    const open = new Set(steps.map((step) => step.name))
    const all = Promise.all(
      steps.map(async ({ name, run }) => {
        try {
          await run(late.signal)
        } catch (error) {
          this.#log.error({ phase, step: name, err: error }, `shutdown step failed: ${errorMessage(error)}`)
        }
        open.delete(name)
      })
    )
    const done = new AbortController()
    const limit = this.#clock.sleep(limitMs, done.signal).then(
      () => late.abort(new Error(`the phase ${phase} took longer than ${limitMs} ms`)),
      () => {}
    )
    await Promise.race([all, limit])
    done.abort()
    if (late.signal.aborted) this.#log.warn({ phase, steps: [...open], limitMs }, 'going on without waiting longer')
  }
}

/** Milliseconds after which the process ends however far it came. */
const limitMs = 25_000

/**
 * SIGINT, SIGTERM and uncaught errors take the process down in order; a second signal ends it at once.
 * @returns removes the handlers (for embedding in other programs)
 */
export function downOnSignals(shutdown: Shutdown, log: Log): () => void {
  const handlers = closeWithGrace(
    {
      delay: limitMs,
      skip: ['beforeExit'],
      logger: {
        error: (message) => log.error({ err: message instanceof Error ? message : undefined }, String(message))
      },
      onSecondSignal: (signal) => log.error({ signal }, 'second signal: ending at once'),
      onTimeout: (delay) => log.error({ delay }, 'the way down took too long: ending')
    },
    async ({ signal, err }) => {
      if (err) log.fatal({ err }, `uncaught: ${err.message}`)
      await shutdown.run(signal ?? (err ? 'uncaught error' : 'closed'))
    }
  )
  return () => handlers.uninstall()
}
