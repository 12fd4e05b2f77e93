// The engine process, the oracle beside it, and attacks run against it.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { SandboxOptions } from '#sandbox/types.ts'
import { testCluster } from '#test/support/cluster.ts'
import type { AttackClass, Variant } from '../corpus/types.ts'
import type { Answer, Ask } from './messages.ts'
import { birth, descendants, quiet, rssMb, watchMemory } from './oracle.ts'

const MAX_CELL_MB = 1536 // the RSS poll kills above 512; between two looks a process may grow by as much as a core can write
// What a call may be billed beyond its budget. Budgets are looked at every 10 ms, on a busy machine later, and isolated-vm
// counts a running isolate by the wall clock; a kill comes `graceMs` after its deadline, and then the whole process counts,
// the threads of its garbage collector too.
const CPU_MS = 300
const END_CPU_MS = 1000
const KILL_CPU_MS = 2000
const MAX_MS = 8000 // wallMs 900 and grace 250, and a machine that is shared
// The secret also in base64 at each of its three places, and in hex.
const HOST =
  /s3cret|czNjcmV0|MzY3JldC|zM2NyZX|733363726574|isolated-vm|node:internal|agentos:guest|file:\/\/|\/(work|home|root|tmp|node_modules)\//

export interface Mode {
  verified: boolean
  warmed?: boolean
}

export interface Report {
  outcome: string
  ms: number
  peakMb: number
  /** What should not be; empty: contained. */
  faults: string[]
}

/** Without the id that the arena gives. */
type Wish = Ask extends infer One ? (One extends Ask ? Omit<One, 'id'> : never) : never

export class Arena {
  readonly isolation: string
  readonly #engine: ChildProcess
  readonly #memory: ReturnType<typeof watchMemory>
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>()
  #lastId = 0
  #sessions = 0

  private constructor(engine: ChildProcess, isolation: string) {
    this.#engine = engine
    this.isolation = isolation
    this.#memory = watchMemory(this.pid)
    engine.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.resolve(answer)
      this.#waiting.delete(answer.id)
    })
    engine.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the engine died: ${signal ?? code}`))
    })
  }

  static open(options: Partial<SandboxOptions> = {}): Promise<Arena> {
    return Arena.#open('engine.ts', [JSON.stringify(options)])
  }

  /** For the classes that go through capabilities: a real app with a database. */
  static async openApp(): Promise<Arena> {
    // The server of all tests outlives them: here it is nothing that an engine leaves behind.
    await testCluster()
    return await Arena.#open('app-engine.ts', [])
  }

  static async #open(file: string, args: string[]): Promise<Arena> {
    const engine = fork(fileURLToPath(new URL(file, import.meta.url)), args)
    const [{ outcome }] = (await once(engine, 'message')) as [{ outcome: string }]
    return new Arena(engine, outcome)
  }

  get pid(): number {
    return this.#engine.pid ?? 0
  }

  get engineMb(): number {
    return Math.round(rssMb(this.pid))
  }

  ask(wish: Wish): Promise<Answer> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#engine.send({ ...wish, id } as Ask)
    })
  }

  launch(attack: AttackClass, variant: number, mode: Mode, tenantId = 'attacker'): Promise<Answer> {
    const sessionId = `s${++this.#sessions}`
    return this.ask({ do: 'attack', attack: attack.id, variant, warmed: false, ...mode, tenantId, sessionId })
  }

  /** One attack with nothing beside it but an honest tenant, who is asked before and after. */
  async alone(attack: AttackClass, variant: number, mode: Mode): Promise<Report> {
    const wanted = attack.variants[variant] as Variant
    const before = await this.#victim('bystander')
    this.#memory.reset()
    let answer = await this.launch(attack, variant, mode)
    // A cell that is replaced between the quick calls and the attack (it was fat) begins anew: the attack was not run.
    for (let i = 0; i < 3 && mode.warmed && !wanted.inputs && answer.output === null; i++)
      answer = await this.launch(attack, variant, mode)
    const burning = await quiet(this.pid)
    const peakMb = this.#memory.peakMb()
    const after = await this.#victim('bystander')
    const faults = [...judge(wanted, answer, mode), ...(burning ? [burning] : [])]
    if (after !== before + 1) faults.push(`the bystander's isolate was lost: ${before} then ${after}`)
    if (peakMb > MAX_CELL_MB) faults.push(`a cell had ${peakMb} MB`)
    if (answer.ms > MAX_MS * (wanted.inputs?.length ?? 1)) faults.push(`it took ${Math.round(answer.ms)} ms`)
    const honest = await this.ask({ do: 'call', tenantId: 'attacker' })
    if (honest.outcome !== 'OK') faults.push(`the attacker is not served again: ${honest.outcome}`)
    return { outcome: answer.outcome, ms: Math.round(answer.ms), peakMb, faults }
  }

  /**
   * The same attack by `attackers` at once, while victims of `victims` tenants go on. Attackers share cells, so one may be
   * killed with another; victims are other tenants, and each must keep its isolate through all of its calls.
   */
  async crowd(
    attack: AttackClass,
    variant: number,
    attackers: number,
    victims: number
  ): Promise<Report & { latencyMs: number[] }> {
    const wanted = attack.variants[variant] as Variant
    const started = performance.now()
    this.#memory.reset()
    let over = false
    const attacking = Promise.all(
      Array.from({ length: attackers }, (_, i) => this.launch(attack, variant, { verified: true }, `attacker-${i % 4}`))
    ).finally(() => {
      over = true
    })
    const latencyMs: number[] = []
    const faults: string[] = []
    const live = async (tenantId: string) => {
      let n = await this.#victim(tenantId)
      do {
        const began = performance.now()
        const seen = await this.#victim(tenantId)
        latencyMs.push(performance.now() - began)
        if (seen !== ++n) {
          faults.push(`${tenantId} lost its isolate: ${n} became ${seen}`)
          return
        }
        await new Promise((resolve) => setTimeout(resolve, 20))
      } while (!over)
    }
    await Promise.all(Array.from({ length: victims }, (_, i) => live(`victim-${i}`)))
    const answers = await attacking
    // Sharing a cell, an attack may end with it, or stay longer in its queue than alone.
    const allowed = [...wanted.expect, 'SANDBOX_KILLED', 'SANDBOX_MEMORY', 'SANDBOX_TIMEOUT']
    for (const answer of answers) {
      if (!allowed.includes(answer.outcome as never)) faults.push(`outcome ${answer.outcome}`)
      faults.push(...leaks(answer))
    }
    const burning = await quiet(this.pid, 6000)
    if (burning) faults.push(burning)
    const outcome = [...new Set(answers.map((answer) => answer.outcome))].sort().join(' ')
    return { outcome, ms: Math.round(performance.now() - started), peakMb: this.#memory.peakMb(), faults, latencyMs }
  }

  async latency(victims: number, calls: number): Promise<number[]> {
    const ms: number[] = []
    // Twenty cells that start at the same moment on two busy cores are late for each other; that is not what is measured.
    for (let i = 0; i < victims; i += 4)
      await Promise.all(Array.from({ length: Math.min(4, victims - i) }, (_, k) => this.#victim(`victim-${i + k}`)))
    const live = async (tenantId: string) => {
      for (let i = 0; i < calls; i++) {
        const began = performance.now()
        await this.#victim(tenantId)
        ms.push(performance.now() - began)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    await Promise.all(Array.from({ length: victims }, (_, i) => live(`victim-${i}`)))
    return ms
  }

  /** Ends the engine. @returns pids that it left behind */
  async close(): Promise<number[]> {
    const exited = once(this.#engine, 'exit')
    await this.ask({ do: 'close' })
    await exited
    this.#memory.stop()
    const left = [...this.#memory.seen].filter(([pid, born]) => birth(pid) === born).map(([pid]) => pid)
    return [...left, ...descendants(this.pid)]
  }

  async #victim(tenantId: string): Promise<number> {
    const { outcome, output } = await this.ask({ do: 'call', tenantId })
    if (outcome !== 'OK') throw new Error(`the honest tenant ${tenantId} got ${outcome}`)
    return (output as { n: number }).n
  }
}

function judge(wanted: Variant, answer: Answer, mode: Mode): string[] {
  const faults = leaks(answer)
  // On the cell's own thread some loops are ended with the cell.
  const allowed: readonly string[] = [
    ...wanted.expect,
    ...(mode.warmed && wanted.expect.includes('SANDBOX_TIMEOUT') ? ['SANDBOX_KILLED'] : [])
  ]
  if (!allowed.includes(answer.outcome))
    faults.push(`${answer.outcome} instead of ${wanted.expect.join(' or ')}: ${answer.shown.slice(0, 300)}`)
  // Where an earlier call lost the isolate, the last one is the first quick one of a new isolate.
  const begunAnew = mode.warmed === true && wanted.inputs !== undefined && answer.output === null
  const budgetMs =
    (wanted.limits?.cpuMs ?? CPU_MS) * (wanted.inputs?.length ?? 1) + (answer.killed ? KILL_CPU_MS : END_CPU_MS)
  if ((answer.cpuMs ?? 0) > budgetMs)
    faults.push(`${Math.round(answer.cpuMs ?? 0)} ms of CPU are billed, ${budgetMs} at most`)
  if (wanted.audited?.some((action) => !answer.audited?.some((one) => one.startsWith(action))))
    faults.push(`no audit row ${wanted.audited.join()}: ${answer.audited?.join()}`)
  const same = JSON.stringify(answer.output) === JSON.stringify(wanted.output)
  if (answer.outcome === 'OK' && 'output' in wanted && !same && !begunAnew)
    faults.push(`returned ${JSON.stringify(answer.output)?.slice(0, 300)}`)
  return faults
}

function leaks(answer: Answer): string[] {
  const text = `${answer.shown}\n${JSON.stringify(answer.output) ?? ''}`
  const found = HOST.exec(text)
  const faults = found ? [`shows the host: ${found[0]}`] : []
  if (answer.foreign) faults.push(`${answer.foreign} rows stand with another tenant`)
  if (answer.logLines > 1002 || answer.logBytes > 100_000) faults.push(`${answer.logLines} lines of log`)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not come through
  if (/[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e]/.test(answer.shown)) faults.push('control characters in the log')
  return faults
}
