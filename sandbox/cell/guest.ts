// One isolate: of one session, one skill version. The only file that makes isolates.
import ivm from 'isolated-vm'
import { help } from './helpers.ts'
import { type GuestSkill, LoadError, link } from './link.ts'
import { Export, PRELUDE, PRELUDE_NAME } from './prelude.ts'

/** What the guest may cause while a call runs. */
export interface GuestHost {
  /** Of the call: what Date and chance come from. */
  time: number
  seed: string
  log(level: string, message: string): void
  hostCall(n: number, name: string, args: string): void
  /** Code that the host woke up (a timer) ended badly. */
  failed(error: unknown): void
  catastrophe(): void
}

const LEVELS = new Set(['debug', 'info', 'warn', 'error'])
const MAX_TIMERS = 1000
const MAX_DELAY_MS = 2 ** 31 - 1

type Bind = (entry: unknown) => void
type Invoke = (exportName: string, input: string, setup: string) => Promise<string>
type Deliver = (n: number, ok: boolean, text: string) => void
type Fire = (id: number) => void
type Abort = (name: string, message: string) => void
type World = (time: number, seed: string) => void

let lastId = 0

// Of our own source, made in this process before any guest ran: code that comes with a package is never trusted like that.
let preludeCode: ivm.ExternalCopy<ArrayBuffer> | undefined

function compilePrelude(isolate: ivm.Isolate): ivm.Script {
  if (preludeCode) return isolate.compileScriptSync(PRELUDE, { filename: PRELUDE_NAME, cachedData: preludeCode })
  const options = { filename: PRELUDE_NAME, produceCachedData: true }
  const script = isolate.compileScriptSync(PRELUDE, options) as ivm.Script & ivm.CachedDataResult
  preludeCode = script.cachedData
  return script
}

export class Guest {
  readonly id = ++lastId
  readonly skill: GuestSkill
  readonly #isolate: ivm.Isolate
  readonly #timers = new Map<number, NodeJS.Timeout>()
  #host: GuestHost | undefined
  #invoke: ivm.Reference<Invoke> | undefined
  #deliver: ivm.Reference<Deliver> | undefined
  #fire: ivm.Reference<Fire> | undefined
  #abort: ivm.Reference<Abort> | undefined
  #cpuBefore = 0n
  #cpuLast = 0n
  #helpMs = 0
  loaded = false
  /** The skill looked at ctx.signal in this call. */
  listens = false

  constructor(skill: GuestSkill, memoryMb: number) {
    this.skill = skill
    // Without this handler an exhausted heap aborts the whole cell; with it the isolate's thread is lost for good, which
    // is reported so that the supervisor kills the cell knowing who did it.
    this.#isolate = new ivm.Isolate({ memoryLimit: memoryMb, onCatastrophicError: () => this.#host?.catastrophe() })
  }

  get disposed(): boolean {
    return this.#isolate.isDisposed
  }

  /** Begins a call: its CPU time counts from here. */
  take(host: GuestHost): void {
    this.#host = host
    this.#helpMs = 0
    this.listens = false
    this.#cpuBefore = this.#readCpu()
  }

  /** Ends a call and its timers. Answers of host calls that are still under way find no call any more. */
  leave(): void {
    this.#host = undefined
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }

  /** CPU ms of the current call, also while it runs; with what our thread did for it. */
  cpuMs(): number {
    return Number(this.#readCpu() - this.#cpuBefore) / 1e6 + this.#helpMs
  }

  #readCpu(): bigint {
    if (!this.#isolate.isDisposed) this.#cpuLast = this.#isolate.cpuTime
    return this.#cpuLast
  }

  async load(): Promise<void> {
    if (this.loaded) return
    const { context, bind } = this.#prepare()
    const entry = await link(this.#isolate, context, this.skill)
    await entry.evaluate()
    await bind.apply(undefined, [entry.namespace.derefInto()])
    this.loaded = true
  }

  // Synchronous: no guest code runs yet, and nine hops to the isolate's thread would take longer than the work itself.
  #prepare(): { context: ivm.Context; bind: ivm.Reference<Bind> } {
    const context = this.#isolate.createContextSync()
    const script = compilePrelude(this.#isolate)
    const post = new ivm.Callback((kind: unknown, n: unknown, text: unknown) => this.#post(kind, n, text))
    const ask = new ivm.Callback((what: unknown, ...texts: unknown[]) => this.#ask(what, texts))
    type Start = (post: unknown, ask: unknown) => unknown[]
    const start = script.runSync(context, { reference: true }) as unknown as ivm.Reference<Start>
    const made = start.applySync(undefined, [post, ask], { result: { reference: true } })
    const parts = made as unknown as ivm.Reference<unknown[]>
    const part = (index: number): unknown => parts.getSync(index, { reference: true })
    this.#invoke = part(Export.invoke) as ivm.Reference<Invoke>
    this.#deliver = part(Export.deliver) as ivm.Reference<Deliver>
    this.#fire = part(Export.fire) as ivm.Reference<Fire>
    this.#abort = part(Export.abort) as ivm.Reference<Abort>
    const world = part(Export.world) as ivm.Reference<World>
    world.applySync(undefined, [this.#host?.time ?? 0, `load ${this.#host?.seed}`])
    return { context, bind: part(Export.bind) as ivm.Reference<Bind> }
  }

  /** Calls the tool. @returns the trampoline's capped string. Rejects when the isolate was disposed. */
  invoke(exportName: string, input: string, setup: unknown): Promise<string> {
    const invoke = this.#invoke
    if (!invoke) throw new LoadError('not loaded')
    return invoke.apply(undefined, [exportName, input, JSON.stringify(setup)], {
      result: { promise: true }
    }) as unknown as Promise<string>
  }

  /** Gives the answer of host call `n` to the guest and runs what it wakes up. */
  async deliver(n: number, ok: boolean, text: string): Promise<void> {
    await this.#deliver?.apply(undefined, [n, ok, text])
  }

  /** Fires ctx.signal; the reason is a DOMException of this name. */
  async abort(name: string, message: string): Promise<void> {
    await this.#abort?.apply(undefined, [name, message])
  }

  /** Interrupts whatever runs, except a builtin that V8 cannot interrupt. */
  dispose(): void {
    this.#readCpu()
    if (!this.#isolate.isDisposed) this.#isolate.dispose()
  }

  // Synchronous for the guest, which waits: that is the back-pressure. It never throws: a host error would show host paths.
  #post(kind: unknown, n: unknown, text: unknown): void {
    const host = this.#host
    if (!host || typeof kind !== 'string' || typeof n !== 'number' || typeof text !== 'string') return
    const [what, name = ''] = kind.split(':')
    if (what === 'log') host.log(LEVELS.has(name) ? name : 'info', text)
    else if (what === 'timer') this.#timer(name, n, Number(text))
    else if (what === 'signal') this.listens = true
    else host.hostCall(n, name, text)
  }

  // The guest counts its timers; the host counts again, for a guest that got hold of `post`.
  #timer(action: string, id: number, ms: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
    if (action !== 'set' || this.#timers.size >= MAX_TIMERS) return
    const wake = () => {
      this.#timers.delete(id)
      this.#fire?.apply(undefined, [id]).catch((error: unknown) => this.#host?.failed(error))
    }
    this.#timers.set(id, setTimeout(wake, ms >= 1 ? Math.min(ms, MAX_DELAY_MS) : 1))
  }

  #ask(what: unknown, texts: unknown[]): string {
    if (!this.#host) return ''
    const before = performance.now()
    const answer = help(this.#host.seed, what, texts)
    this.#helpMs += performance.now() - before
    return answer
  }
}
