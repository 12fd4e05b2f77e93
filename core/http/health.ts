import type { Clock } from '#core/clock.ts'
import { errorMessage } from '#core/errors.ts'
import type { Log } from '#core/log.ts'

/** Resolves (optionally with something to show) when all is well, rejects when not. */
export type Check = () => Promise<unknown> | unknown

export interface CheckResult {
  status: 'ok' | 'failed'
  /** Milliseconds that the check took. */
  ms: number
  detail?: unknown
}

export interface Readiness {
  status: 'ready' | 'degraded' | 'not ready' | 'draining'
  checks: Record<string, CheckResult>
}

const checkLimitMs = 2000

/** Who answers /readyz: parts add their checks, shutdown sets `draining`. */
export class Health {
  readonly #clock: Clock
  readonly #log: Log
  readonly #checks = new Map<string, { check: Check; required: boolean }>()
  #running: Promise<Readiness> | null = null
  draining = false

  constructor(options: { clock: Clock; log: Log }) {
    this.#clock = options.clock
    this.#log = options.log
  }

  /** @param options.required false: a failure shows as `degraded` and does not take the host out of service */
  add(name: string, check: Check, options: { required?: boolean } = {}): void {
    if (this.#checks.has(name)) throw new Error(`health check ${name} is added twice`)
    this.#checks.set(name, { check, required: options.required ?? true })
  }

  /** One run serves all who ask meanwhile: the endpoint is public and must not multiply load on the database. */
  readiness(): Promise<Readiness> {
    this.#running ??= this.#run().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #run(): Promise<Readiness> {
    const entries = await Promise.all(
      [...this.#checks].map(async ([name, { check, required }]) => {
        const result = await this.#runOne(name, check)
        return { name, result, required }
      })
    )
    const failed = entries.filter(({ result }) => result.status === 'failed')
    const status = this.draining
      ? 'draining'
      : failed.some(({ required }) => required)
        ? 'not ready'
        : failed.length > 0
          ? 'degraded'
          : 'ready'
    return { status, checks: Object.fromEntries(entries.map(({ name, result }) => [name, result])) }
  }

  // Messages of failures go to the log only: they name hosts and ports.
  async #runOne(name: string, check: Check): Promise<CheckResult> {
    const started = this.#clock.monotonic()
    const ms = () => Math.round(this.#clock.monotonic() - started)
    const limit = new AbortController()
    try {
      const late = this.#clock.sleep(checkLimitMs, limit.signal).then(() => {
        throw new Error(`no answer in ${checkLimitMs} ms`)
      })
      late.catch(() => {}) // aborted below when the check was faster
      const detail = await Promise.race([Promise.resolve().then(check), late])
      return { status: 'ok', ms: ms(), ...(detail === undefined ? {} : { detail }) }
    } catch (error) {
      this.#log.warn({ check: name, reason: errorMessage(error) }, 'a health check failed')
      return { status: 'failed', ms: ms() }
    } finally {
      limit.abort()
    }
  }
}
