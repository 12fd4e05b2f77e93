import { systemClock } from '#core/clock.ts'
import { CRASH_POINTS, type CrashPoint } from '#core/crash-point.ts'
import type { ServerProcess } from '#test/support/server-process.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** How often a point is passed at most before it kills; `admitted` is passed only by requests, so it comes late. */
const LATEST: Record<CrashPoint, number> = {
  admitted: 3,
  claimed: 8,
  'before-effect': 40,
  'effect-done': 40,
  'before-commit': 40,
  'after-commit': 40,
  'relay-sequenced': 40
}
/** Of the hosts that start while every point was hit already, this many per 100 are armed again. */
const ARMED_AGAIN = 60

/** A host that cannot start is not started a thousand times. */
const SURPRISE_MS = 1000
/** A host that is not ready by then hangs. */
const START_MS = 15_000

interface Arm {
  readonly point: CrashPoint
  readonly after: number
}

export interface NemesisReport {
  /** Kills from outside at a random moment. */
  kills: number
  /** Kills at crash points, by point. */
  hits: Record<string, number>
  starts: number
  /** Milliseconds that the slowest start took until it was ready. */
  slowestStartMs: number
  /** A host that ended otherwise: a bug. */
  surprises: string[]
}

/** Keeps hosts running and kills them: from outside at random moments, and from inside at named crash points. */
export class Nemesis {
  readonly report: NemesisReport = { kills: 0, hits: {}, starts: 0, slowestStartMs: 0, surprises: [] }
  private readonly hosts: Host[]
  private readonly random: Random
  private due: CrashPoint[]
  private calm = false

  constructor(world: World, options: { hosts: number; random: Random }) {
    this.random = options.random
    this.due = this.random.shuffle(CRASH_POINTS)
    this.hosts = Array.from({ length: options.hosts }, (_, index) => new Host(world, `host-${index}`))
  }

  /** Starts every host; each is started again whenever it ends. Resolves when all are ready for the first time. */
  async start(): Promise<void> {
    for (const host of this.hosts) void this.keepAlive(host)
    for (const host of this.hosts) {
      while (host.url === null && this.report.surprises.length === 0) await systemClock.sleep(20)
    }
  }

  /** An address of a host that seems to be up, any of them, or null. */
  address(): string | null {
    const up = this.hosts.flatMap(({ url }) => url ?? [])
    return up.length > 0 ? this.random.pick(up) : null
  }

  /** Kills a random host every 1 to 2 s for `ms`. */
  async rage(ms: number): Promise<void> {
    const end = systemClock.monotonic() + ms
    for (;;) {
      const pause = this.random.between(1000, 2000)
      if (systemClock.monotonic() + pause > end) break
      await systemClock.sleep(pause)
      await this.strike(this.random.pick(this.hosts))
    }
    await systemClock.sleep(Math.max(0, end - systemClock.monotonic()))
  }

  /**
   * On a slow machine hosts were killed before they came to some points: aims at these until they are hit.
   * @param drive makes some work for the hosts
   */
  async hunt(drive: () => Promise<void>, ms: number): Promise<void> {
    const end = systemClock.monotonic() + ms
    for (const point of CRASH_POINTS) {
      if (point in this.report.hits) continue
      this.due = this.hosts.map(() => point)
      await Promise.all(this.hosts.map((host) => this.strike(host)))
      while (!(point in this.report.hits) && systemClock.monotonic() < end) await drive()
    }
  }

  /** Kills all hosts at once; those that start now stay. */
  async rest(): Promise<void> {
    this.calm = true
    await Promise.all(this.hosts.map((host) => this.strike(host)))
  }

  /** The last that the running hosts wrote. */
  lines(): string[] {
    return this.hosts.map(({ name, url, process }) => `${name} ${url}: ${process?.lines.slice(-30).join('\n') ?? ''}`)
  }

  /** Ends every host; nothing is started again. */
  async stop(): Promise<void> {
    this.calm = true
    for (const host of this.hosts) host.retired = true
    await Promise.all(this.hosts.map((host) => host.process?.kill()))
  }

  private async strike(host: Host): Promise<void> {
    if (!host.process || host.struck) return
    host.struck = true
    this.report.kills += 1
    await host.process.kill()
  }

  private async keepAlive(host: Host): Promise<void> {
    while (!host.retired) {
      const arm = this.nextArm()
      this.report.starts += 1
      const { signal, code, lines } = await host.live(
        arm,
        (ms) => {
          this.report.slowestStartMs = Math.max(this.report.slowestStartMs, Math.round(ms))
        },
        (why) => this.report.surprises.push(`${host.name} was not ready after ${START_MS} ms: ${why}`)
      )
      if (host.retired) return
      if (host.struck) {
        if (arm && !(arm.point in this.report.hits)) this.due.unshift(arm.point) // it never got there: again, first
        continue
      }
      if (arm && signal === 'SIGKILL') this.report.hits[arm.point] = (this.report.hits[arm.point] ?? 0) + 1
      else {
        this.report.surprises.push(`${host.name} ended with ${signal ?? code}: ${lines.slice(-20).join(' | ')}`)
        await systemClock.sleep(SURPRISE_MS)
      }
    }
  }

  private nextArm(): Arm | null {
    // Drawn in any case, so that what the seed says next does not depend on what was hit.
    const [again, other, share] = [this.random.next() * 100, this.random.pick(CRASH_POINTS), this.random.next()]
    if (this.calm) return null
    const point = this.due.shift()
    if (point !== undefined) return { point, after: 1 + Math.floor(share * 3) }
    return again < ARMED_AGAIN ? { point: other, after: 1 + Math.floor(share * LATEST[other]) } : null
  }
}

class Host {
  url: string | null = null
  process: ServerProcess | null = null
  /** The present process is being killed from outside. */
  struck = false
  retired = false
  readonly name: string
  private readonly world: World

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
  }

  async live(
    arm: Arm | null,
    started: (ms: number) => void,
    stuck: (why: string) => void
  ): Promise<{ signal: string | null; code: number | null; lines: readonly string[] }> {
    const crashAt = arm ? `${arm.point}:${arm.after}` : undefined
    const child = this.world.spawn(this.name, { crashAt })
    this.struck = false
    this.process = child
    const since = systemClock.monotonic()
    child.ready.then(
      (url) => {
        started(systemClock.monotonic() - since)
        if (this.process === child) this.url = url
      },
      () => {}
    )
    const hangs = systemClock.after(START_MS, () => {
      if (this.process === child && this.url === null)
        void this.world.activity().then((text) => stuck(`${child.lines.join(' | ')} ${text}`))
    })
    const ended = await child.exited
    hangs.cancel()
    this.url = null
    return { ...ended, lines: child.lines }
  }
}
