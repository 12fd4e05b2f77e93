// One isolate: of one session, one skill version. The only file that makes isolates.
import ivm from 'isolated-vm'
import { help } from './helpers.ts'
import { type GuestSkill, link } from './link.ts'
import { Export, PRELUDE, PRELUDE_NAME } from './prelude.ts'

/** What the guest may cause while a call runs. */
export interface GuestHost {
  /** Of the call: what Date and chance come from. */
  time: number
  seed: string
  log(level: string, message: string): void
  hostCall(n: number, name: string, args: string): void
  /** The trampoline's capped string. It holds when the guest has come to rest: see `rested`. */
  answer(text: string): void
  /** Code that was started by run, an answer or a timer has come to its end. */
  rested(): void
  /** The same, but badly: the isolate is gone, or nobody handled an error. */
  failed(error: unknown): void
  catastrophe(): void
}

/** Export, input, time, seed, host calls allowed, then the JSON of ctx.session and of [capabilities, data]. */
export type RunArguments = [string, string, number, string, number, string, string]

const LEVELS = new Set(['debug', 'info', 'warn', 'error'])
const MAX_TIMERS = 1000
const MAX_DELAY_MS = 2 ** 31 - 1

type Bind = (entry: unknown) => void
type Invoke = (...args: RunArguments) => void
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
  #busy = 0
  loaded = false
  /** Its last call took so little that the next one may run on our own thread: no hop to another one and back. */
  quick = false
  /** The skill looked at ctx.signal in this call. */
  listens = false

  constructor(skill: GuestSkill, memoryMb: number) {
    this.skill = skill
    // Without this handler an exhausted heap aborts the whole cell; with it the isolate's thread is lost for good, which
    // is reported so that the supervisor kills the cell knowing who did it.
    this.#isolate = new ivm.Isolate({ memoryLimit: memoryMb, onCatastrophicError: () => this.#host?.catastrophe() })
  }

  /** Some of its code is under way; after dispose() it still has to let go. */
  get busy(): boolean {
    return this.#busy > 0
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
    this.#busy++
    try {
      const { context, bind } = this.#prepare()
      const entry = await link(this.#isolate, context, this.skill)
      await entry.evaluate()
      await bind.apply(undefined, [entry.namespace.derefInto()])
      this.loaded = true
    } finally {
      this.#busy--
    }
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

  /** Calls the tool; the host hears of everything that comes of it. */
  run(args: RunArguments): void {
    this.#wake(this.#invoke?.apply(undefined, args))
  }

  /**
   * The same on this thread, which is blocked for `timeoutMs` at most, and for ever in a built-in that cannot be
   * interrupted: whoever calls this is watched by another thread.
   */
  runHere(args: RunArguments, timeoutMs: number): void {
    const host = this.#host
    try {
      this.#invoke?.applySync(undefined, args, { timeout: timeoutMs })
    } catch (error) {
      host?.failed(error)
      return
    }
    host?.rested()
  }

  /** Gives the answer of host call `n` to the guest and runs what it wakes up. */
  deliver(n: number, ok: boolean, text: string): void {
    this.#wake(this.#deliver?.apply(undefined, [n, ok, text]))
  }

  /** Fires ctx.signal; the reason is a DOMException of this name. */
  abort(name: string, message: string): void {
    this.#wake(this.#abort?.apply(undefined, [name, message]))
  }

  #wake(running: Promise<unknown> | undefined): void {
    const host = this.#host
    this.#busy++
    Promise.resolve(running).then(
      () => {
        this.#busy--
        host?.rested()
      },
      (error: unknown) => {
        this.#busy--
        host?.failed(error)
      }
    )
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
    else if (what === 'answer') host.answer(text)
    else host.hostCall(n, name, text)
  }

  // The guest counts its timers; the host counts again, for a guest that got hold of `post`.
  #timer(action: string, id: number, ms: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
    if (action !== 'set' || this.#timers.size >= MAX_TIMERS) return
    const wake = () => {
      this.#timers.delete(id)
      this.#wake(this.#fire?.apply(undefined, [id]))
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
