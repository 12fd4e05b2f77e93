import type { Clock } from '#core/clock.ts'
import { errorMessage } from '#core/errors.ts'
import { scrub } from '#core/scrub.ts'

declare module 'fastify' {
  interface FastifyInstance {
    doctor: Doctor
  }
}

export interface Verdict {
  /** 'unknown': there is nothing here to look at (no Redis, no tenant yet). A check that could not look throws. */
  ok: boolean | 'unknown'
  /** One line of what was seen: names and counts, never secrets, never what a tenant wrote. */
  detail: string
  /** What the operator does next; shown where `ok` is false. */
  fix?: string
}

export interface DoctorCheck {
  /** `rls.forced`: stable, unique in its group. */
  readonly name: string
  /** What holds when it is ok, as a sentence: "every table is under forced row level security". */
  readonly title: string
  /** The longest it may take, ms. Default 10,000. */
  readonly limitMs?: number
  /** Looks at the running system and changes nothing that stays. A throw is a red line with its reason. */
  run(): Promise<Verdict> | Verdict
}

export interface Line extends Verdict {
  name: string
  title: string
  /** Milliseconds that the check took. */
  ms: number
}

export interface Report {
  group: string
  /** No line is red. */
  ok: boolean
  /** ISO 8601 UTC. */
  at: string
  checks: Line[]
}

const defaultLimitMs = 10_000
// Enough to name what is wrong; a detail is a line on a terminal.
const longestDetail = 500
// Checks ask the database: a run must not take a whole pool from those who work.
const atOnce = 2

/** The checks by which an operator sees what holds on this server. Parts add theirs; `agentos doctor` prints them. */
export class Doctor {
  readonly #clock: Clock
  readonly #groups = new Map<string, DoctorCheck[]>()
  readonly #running = new Map<string, Promise<Report>>()

  constructor(options: { clock: Clock }) {
    this.#clock = options.clock
  }

  /** @throws Error when the group has a check of that name */
  add(group: string, check: DoctorCheck): void {
    const checks = this.#groups.get(group) ?? []
    if (checks.some(({ name }) => name === check.name)) throw new Error(`doctor: ${group} has ${check.name} twice`)
    this.#groups.set(group, [...checks, check])
  }

  /** Names of the groups and of their checks, as they were added. */
  groups(): { group: string; checks: string[] }[] {
    return [...this.#groups].map(([group, checks]) => ({ group, checks: checks.map(({ name }) => name) }))
  }

  /** Runs all checks of the group; who asks meanwhile gets the same report. undefined: there is no such group. */
  run(group: string): Promise<Report> | undefined {
    const checks = this.#groups.get(group)
    if (checks === undefined) return undefined
    const running = this.#running.get(group) ?? this.#run(group, checks).finally(() => this.#running.delete(group))
    this.#running.set(group, running)
    return running
  }

  async #run(group: string, checks: readonly DoctorCheck[]): Promise<Report> {
    const lines: Line[] = new Array(checks.length)
    const left = checks.entries()
    const lane = async () => {
      for (const [at, check] of left) lines[at] = await this.#runOne(check)
    }
    await Promise.all(Array.from({ length: atOnce }, lane))
    const ok = lines.every((line) => line.ok !== false)
    return { group, ok, at: new Date(this.#clock.now()).toISOString(), checks: lines }
  }

  async #runOne(check: DoctorCheck): Promise<Line> {
    const { name, title, limitMs = defaultLimitMs } = check
    const started = this.#clock.monotonic()
    const limit = new AbortController()
    const late = this.#clock.sleep(limitMs, limit.signal).then((): Verdict => {
      return { ok: false, detail: `no answer in ${limitMs} ms` }
    })
    late.catch(() => {}) // aborted below when the check was faster
    const asked = Promise.resolve()
      .then(() => check.run())
      .catch((error): Verdict => ({ ok: false, detail: `the check could not be made: ${errorMessage(error)}` }))
    const verdict = await Promise.race([asked, late])
    limit.abort()
    const { ok, fix } = verdict
    const ms = Math.round(this.#clock.monotonic() - started)
    return { name, title, ok, detail: oneLine(verdict.detail), ...(fix === undefined ? {} : { fix: oneLine(fix) }), ms }
  }
}

// Scrubbed: the reason of a throw is a library's text.
function oneLine(text: string): string {
  const line = scrub(text).replaceAll(/\s+/g, ' ').trim()
  return line.length > longestDetail ? `${line.slice(0, longestDetail)}…` : line
}
