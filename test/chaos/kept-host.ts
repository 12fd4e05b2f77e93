import type { CrashPoint } from '#core/crash-point.ts'
import type { ServerProcess } from '#test/support/server-process.ts'
import { until } from '#test/support/until.ts'
import type { World } from './world.ts'

/** One host that is started again whenever it ends, and armed by the test at the moment it chooses. */
export class KeptHost {
  url: string | null = null
  /** How its processes ended so far. */
  readonly deaths: string[] = []
  private process: ServerProcess | null = null
  private retired = false
  private readonly world: World
  private readonly name: string

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
    void this.keep()
  }

  async up(): Promise<string> {
    // It is killed on purpose again and again; what must not be is that it cannot come up now.
    const before = this.deaths.length
    await until(() => this.url !== null || this.deaths.length > before + 3, `${this.name} is up`)
    if (this.url === null) throw new Error(this.deaths.join('\n'))
    return this.url
  }

  /** From now on it dies the next time it comes to `point`. */
  async arm(point: CrashPoint): Promise<void> {
    await this.up()
    await this.process?.say(`arm ${point} 1`, 'armed')
  }

  async stop(): Promise<void> {
    this.retired = true
    await this.process?.kill()
  }

  private async keep(): Promise<void> {
    while (!this.retired) {
      const child = this.world.spawn(this.name)
      this.process = child
      child.ready.then(
        (url) => {
          this.url = url
        },
        () => {}
      )
      const { signal, code } = await child.exited
      this.url = null
      this.deaths.push(signal === 'SIGKILL' ? signal : `${signal ?? code}: ${child.lines.slice(-10).join('\n')}`)
      if (signal !== 'SIGKILL') return
    }
  }
}
