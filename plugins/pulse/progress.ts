import type { Clock, Timer } from '#core/clock.ts'

/** Between two pieces of news of one session. */
const EVERY_MS = 1000

export interface ProgressOptions {
  readonly clock: Clock
  /** Steps done, and steps in all. */
  readonly done: number
  readonly steps: number
  /** Announces a percentage, unless the session is further already or the step is over. Never rejects. */
  announce(pct: number): Promise<void>
}

/**
 * What a running step says of how far it is, as percentages of its session: rising, one a second at most, none after its end.
 * The first comes a second after the step began, so that steps of less than a second cost nothing.
 */
export class Progress {
  private readonly options: ProgressOptions
  private best: number
  private timer: Timer | null = null
  private announcing: Promise<void> | null = null
  private told: number
  private ended = false

  constructor(options: ProgressOptions) {
    this.options = options
    this.best = pctOf(options, 0)
    this.told = this.best
  }

  /** @param fraction of the step, 0 to 1; whatever is no number is nothing */
  report(fraction: number | undefined): void {
    if (this.ended || fraction === undefined || !Number.isFinite(fraction)) return
    const pct = pctOf(this.options, Math.min(1, Math.max(0, fraction)))
    if (pct <= this.best) return
    this.best = pct
    if (!this.announcing) this.timer ??= this.options.clock.after(EVERY_MS, () => this.tell())
  }

  /** Nothing is announced when this has resolved: the outcome of the step comes after all of it. */
  async end(): Promise<void> {
    this.ended = true
    this.timer?.cancel()
    await this.announcing
  }

  private tell(): void {
    this.timer = null
    this.told = this.best
    this.announcing = this.options.announce(this.best).finally(() => {
      this.announcing = null
      if (!this.ended && this.best > this.told) this.timer = this.options.clock.after(EVERY_MS, () => this.tell())
    })
  }
}

/** Short of the percentage of the step's end, which is announced with its outcome: 100 is what has ended. */
function pctOf({ done, steps }: ProgressOptions, fraction: number): number {
  const [begin, end] = [Math.floor((100 * done) / steps), Math.floor((100 * (done + 1)) / steps)]
  return Math.min(Math.floor((100 * (done + fraction)) / steps), Math.max(begin, end - 1))
}
