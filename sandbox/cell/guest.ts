// One isolate: of one session, one skill version. The only file that makes isolates.
import ivm from 'isolated-vm'
import type { Replay } from '../wire/messages.ts'
import { help } from './helpers.ts'
import { type GuestSkill, link } from './link.ts'
import { Export, PRELUDE, PRELUDE_NAME } from './prelude.ts'
import { type Wake, Wakes } from './wakes.ts'

/** What the guest may cause while a call runs. */
export interface GuestHost {
  /** Of the call: what Date and chance come from. */
  time: number
  seed: string
  replay: Replay | undefined
  log(level: string, message: string): void
  hostCall(n: number, name: string, args: string): void
  /** Runs what enters the guest on this thread, for `timeoutMs` at most. */
  block(run: (timeoutMs: number) => void): void
  /** An answer or a timer is about to wake the guest up. */
  woken(wake: Wake): void
  /** It cannot follow the recording; `expected` says what should have come. */
  diverged(expected: string): void
  /** The trampoline's capped string. It holds when the guest has come to rest: see `rested`. */
  answer(text: string): void
  /** It has answered, and the code that was under way has come to its end. */
  rested(): void
  /** The same, but badly: the isolate is gone, or nobody handled an error. */
  failed(error: unknown): void
  catastrophe(): void
}

/** Export, input, time, seed, host calls allowed, then the JSON of ctx.session and of [capabilities, data]. */
export type RunArguments = [string, string, number, string, number, string, string]

const LEVELS = new Set(['debug', 'info', 'warn', 'error'])

/** CPU time of a call below which the next one, and the next wake, may run on our own thread. */
export const QUICK_CPU_MS = 1

type Bind = (entry: unknown) => void
type Values = (string | number | boolean)[]
/** Of the guest: invoke takes RunArguments, deliver [n, ok, text], fire [id]. */
type Entry = ivm.Reference<(...args: Values) => void>
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
  readonly #wakes = new Wakes(() => this.#next())
  #host: GuestHost | undefined
  #invoke: Entry | undefined
  #deliver: Entry | undefined
  #fire: Entry | undefined
  #abort: ivm.Reference<Abort> | undefined
  #cpuBefore = 0n
  #cpuLast = 0n
  #helpMs = 0
  #busy = 0
  #settled = false
  // The guest numbers its timers through all its calls; a recording counts them from 1 in each call.
  #timersBefore = 0
  #lastTimer = 0
  loaded = false
  /** Its last call took less than QUICK_CPU_MS. Then our own thread is used: no hop to another one and back. */
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
    this.#wakes.begin(host.replay)
    this.#settled = false
    this.#timersBefore = this.#lastTimer
    this.#helpMs = 0
    this.listens = false
    this.#cpuBefore = this.#readCpu()
  }

  /** Ends a call and its timers. Answers of host calls that are still under way find no call any more. */
  leave(): void {
    this.#host = undefined
    this.#wakes.end()
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
    this.#invoke = part(Export.invoke) as Entry
    this.#deliver = part(Export.deliver) as Entry
    this.#fire = part(Export.fire) as Entry
    this.#abort = part(Export.abort) as ivm.Reference<Abort>
    const world = part(Export.world) as ivm.Reference<World>
    world.applySync(undefined, [this.#host?.time ?? 0, `load ${this.#host?.seed}`])
    return { context, bind: part(Export.bind) as ivm.Reference<Bind> }
  }

  /** Calls the tool; the host hears of everything that comes of it. */
  run(args: RunArguments): void {
    this.#wake(this.#invoke?.apply(undefined, args))
  }

  /** The same on this thread. */
  runHere(args: RunArguments): void {
    if (this.#here(this.#invoke, args)) this.#rest(this.#host)
  }

  // This thread is blocked for a time limit, and for ever in a built-in that cannot be interrupted: another one watches.
  #here(entry: Entry | undefined, args: Values): boolean {
    const host = this.#host
    try {
      host?.block((timeout) => entry?.applySync(undefined, args, { timeout }))
    } catch (error) {
      host?.failed(error)
      return false
    }
    return true
  }

  /** Keeps the answer of host call `n` until its turn has come. */
  deliver(n: number, ok: boolean, text: string): void {
    this.#wakes.answered(n, ok, text)
  }

  // One wake at a time, each with all that comes of it, so that their order is all there is to record.
  #next(): void {
    const host = this.#host
    while (host && host === this.#host && !this.#settled && this.#busy === 0) {
      const wake = this.#wakes.next()
      if (typeof wake === 'string') host.diverged(wake)
      if (typeof wake !== 'number') return
      host.woken(wake)
      const answer = wake > 0 ? this.#wakes.answer(wake) : undefined
      const goesOn = answer
        ? this.#enter(this.#deliver, [wake, answer.ok, answer.text])
        : this.#enter(this.#fire, [this.#timersBefore - wake])
      if (goesOn && this.#settled) host.rested()
      if (!goesOn) return
    }
  }

  /** @returns whether it came to rest at once: what is soon done is done here, see `quick` */
  #enter(entry: Entry | undefined, args: Values): boolean {
    if (this.quick && this.cpuMs() < QUICK_CPU_MS) return this.#here(entry, args)
    this.#wake(entry?.apply(undefined, args))
    return false
  }

  #rest(host: GuestHost | undefined): void {
    if (this.#busy > 0 || host !== this.#host) return
    if (this.#settled) host?.rested()
    else this.#next()
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
        this.#rest(host)
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
    else if (what === 'answer') {
      this.#settled = true
      host.answer(text)
    } else {
      this.#wakes.asked(n)
      host.hostCall(n, name, text)
    }
  }

  #timer(action: string, id: number, ms: number): void {
    const n = id - this.#timersBefore
    if (action === 'clear') this.#wakes.clearTimer(n)
    else if (this.#wakes.setTimer(n, ms)) this.#lastTimer = id
  }

  #ask(what: unknown, texts: unknown[]): string {
    if (!this.#host) return ''
    const before = performance.now()
    const answer = help(this.#host.seed, what, texts)
    this.#helpMs += performance.now() - before
    return answer
  }
}
