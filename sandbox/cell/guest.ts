// One isolate: of one session, one skill version. The only file that speaks isolated-vm.
import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import ivm from 'isolated-vm'

export interface GuestSkill {
  digest: string
  entry: string
  files: Map<string, string>
}

/** What the guest may cause while a call runs. */
export interface GuestHost {
  log(level: string, message: string): void
  hostCall(n: number, name: string, args: string): void
  catastrophe(): void
}

/** The package itself is wrong: a missing file, a forbidden import, a syntax error. */
export class LoadError extends Error {}

// Strict from the outside: the formatter takes the directive for redundant in a file that it reads as a module.
const PRELUDE = `'use strict'\n${readFileSync(new URL('./guest/prelude.js', import.meta.url), 'utf8')}`
const PRELUDE_NAME = 'agentos:guest'
const LEVELS = new Set(['debug', 'info', 'warn', 'error'])

type Deliver = (n: number, ok: boolean, text: string) => void
type Invoke = (exportName: string, input: string, setup: string) => Promise<string>

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
  readonly #skill: GuestSkill
  readonly #isolate: ivm.Isolate
  #host: GuestHost | undefined
  #invoke: ivm.Reference<Invoke> | undefined
  #deliver: ivm.Reference<Deliver> | undefined
  #flying = 0
  #cpuBefore = 0n
  #cpuLast = 0n
  loaded = false

  constructor(skill: GuestSkill, memoryMb: number) {
    this.#skill = skill
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
    this.#flying = 0
    this.#cpuBefore = this.#readCpu()
  }

  /** Ends a call. @returns host calls still in flight: their answers must never reach this isolate */
  leave(): number {
    this.#host = undefined
    return this.#flying
  }

  /** CPU ms of the current call, also while it runs. */
  cpuMs(): number {
    return Number(this.#readCpu() - this.#cpuBefore) / 1e6
  }

  #readCpu(): bigint {
    if (!this.#isolate.isDisposed) this.#cpuLast = this.#isolate.cpuTime
    return this.#cpuLast
  }

  async load(): Promise<void> {
    if (this.loaded) return
    const { context, bind } = this.#prepare()
    const entry = await this.#link(context)
    await entry.evaluate()
    await bind.apply(undefined, [entry.namespace.derefInto()])
    this.loaded = true
  }

  // Synchronous: no guest code runs yet, and nine hops to the isolate's thread would take longer than the work itself.
  #prepare(): { context: ivm.Context; bind: ivm.Reference<(entry: unknown) => void> } {
    const context = this.#isolate.createContextSync()
    const script = compilePrelude(this.#isolate)
    const post = new ivm.Callback((kind: unknown, n: unknown, text: unknown) => this.#post(kind, n, text))
    const start = script.runSync(context, { reference: true }) as unknown as ivm.Reference<(post: unknown) => unknown[]>
    const parts = start.applySync(undefined, [post], { result: { reference: true } }) as unknown as ivm.Reference<
      unknown[]
    >
    const part = (index: number): unknown => parts.getSync(index, { reference: true })
    this.#invoke = part(1) as ivm.Reference<Invoke>
    this.#deliver = part(2) as ivm.Reference<Deliver>
    return { context, bind: part(0) as ivm.Reference<(entry: unknown) => void> }
  }

  async #link(context: ivm.Context): Promise<ivm.Module> {
    const modules = new Map<string, ivm.Module>()
    const paths = new Map<ivm.Module, string>()
    const compile = async (path: string, from?: string): Promise<ivm.Module> => {
      const known = modules.get(path)
      if (known) return known
      const source = this.#skill.files.get(path)
      if (source === undefined)
        throw new LoadError(
          from ? `${from} imports ${path}, which is not in the package` : `${path} is not in the package`
        )
      const module = await this.#isolate
        .compileModule(source, { filename: `skill:/${path}` })
        .catch((error: unknown) => {
          if (this.disposed) throw error
          throw new LoadError(
            String(error instanceof Error ? error.message : error)
              .replaceAll('skill:/', '')
              .slice(0, 4000)
          )
        })
      // Two imports of one file may have been compiled at the same time: the first one stays.
      const first = modules.get(path) ?? module
      modules.set(path, first)
      paths.set(first, path)
      return first
    }
    const entry = await compile(this.#skill.entry)
    await entry.instantiate(context, (specifier, referrer) => {
      const from = paths.get(referrer) ?? this.#skill.entry
      if (!specifier.startsWith('./') && !specifier.startsWith('../'))
        throw new LoadError(
          `${from} imports ${specifier.slice(0, 200)}: only relative files of the package can be imported`
        )
      return compile(posix.join(posix.dirname(from), specifier), from)
    })
    return entry
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
    this.#flying--
    await this.#deliver?.apply(undefined, [n, ok, text])
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
    const name = kind.slice(4).replace(/^:/, '')
    if (kind.startsWith('log:')) host.log(LEVELS.has(name) ? name : 'info', text)
    else {
      this.#flying++
      host.hostCall(n, name, text)
    }
  }
}
