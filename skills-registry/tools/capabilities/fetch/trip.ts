import type { AuditEntry } from '#core/audit/audit.ts'
import type { Clock } from '#core/clock.ts'
import type { HostCall } from '../../capability.ts'

/** One ctx.fetch with all its hops, as the audit log gets it. */
export class Trip {
  readonly method: string
  readonly url: URL
  readonly #clock: Clock
  readonly #start: number
  /** Where it is now. */
  at: URL
  redirects = 0
  /** Of bodies, over all hops, as they went over the wire. */
  bytesOut = 0
  bytesIn = 0
  status: number | null = null
  /** The name of the last secret that was sent. */
  secret: string | null = null
  /** Whether anything was sent: from then on it may have had an effect, however it ends. */
  sent = false

  constructor(method: string, url: URL, clock: Clock) {
    this.method = method
    this.url = url
    this.at = url
    this.#clock = clock
    this.#start = clock.monotonic()
  }

  /** @param hide takes secrets out of a text: a host may have written one into a redirect's path */
  audited(call: HostCall, hide: (text: string) => string, error: string | null): AuditEntry {
    const { skill, step, sessionId } = call
    return {
      action: 'tool.fetched',
      subject: `host:${this.url.hostname}`,
      details: {
        session: sessionId,
        step,
        skill: skill.name,
        version: skill.version,
        method: this.method,
        host: this.url.hostname,
        path: hide(this.url.pathname),
        status: this.status,
        bytesOut: this.bytesOut,
        bytesIn: this.bytesIn,
        ms: Math.round(this.#clock.monotonic() - this.#start),
        redirects: this.redirects,
        ...(this.at === this.url ? {} : { lastHost: this.at.hostname }),
        secret: this.secret,
        ...(error === null ? {} : { error })
      }
    }
  }
}
