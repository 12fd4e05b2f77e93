// What a skill finds beside the language (tsconfig.json lists which parts of that): no DOM, no Node. Each name is held to the
// sandbox by test/types.test.ts, in both directions. What the sandbox lets a skill do is in its second argument, ctx.

interface Console {
  debug(...parts: unknown[]): void
  info(...parts: unknown[]): void
  log(...parts: unknown[]): void
  warn(...parts: unknown[]): void
  error(...parts: unknown[]): void
  /** A debug line; no stack. */
  trace(...parts: unknown[]): void
  assert(fine?: unknown, ...parts: unknown[]): void
}
/** To the session's log: 1000 lines and 64 KiB a call. */
declare const console: Console

/** At most 1000 a call; what is open when the tool returns is dropped. Date stands still meanwhile. */
declare function setTimeout<A extends unknown[]>(run: (...args: A) => void, ms?: number, ...args: A): number
declare function clearTimeout(id?: number): void
declare function queueMicrotask(run: () => void): void

/** No transfer. */
declare function structuredClone<T>(value: T): T
declare function atob(base64: string): string
declare function btoa(text: string): string

type IntegerArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
interface Crypto {
  /** At most 65,536 bytes a draw. */
  getRandomValues<T extends IntegerArray>(array: T): T
  randomUUID(): `${string}-${string}-${string}-${string}-${string}`
}
/** Follows the session's seed: the same on every replay, so it makes no secrets. */
declare const crypto: Crypto

declare class TextEncoder {
  get encoding(): 'utf-8'
  encode(text?: string): Uint8Array<ArrayBuffer>
  encodeInto(text: string, target: Uint8Array): { read: number; written: number }
}
/** utf-8, utf-16le, latin1. */
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean })
  get encoding(): string
  get fatal(): boolean
  get ignoreBOM(): boolean
  decode(bytes?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string
}

declare class URL {
  constructor(url: string | URL, base?: string | URL)
  static canParse(url: string | URL, base?: string | URL): boolean
  static parse(url: string | URL, base?: string | URL): URL | null
  href: string
  readonly origin: string
  protocol: string
  username: string
  password: string
  host: string
  hostname: string
  port: string
  pathname: string
  search: string
  hash: string
  get searchParams(): URLSearchParams
  toString(): string
  toJSON(): string
}
declare class URLSearchParams {
  constructor(init?: string | Iterable<readonly [string, string]> | Readonly<Record<string, string>>)
  get size(): number
  append(name: string, value: string): void
  delete(name: string, value?: string): void
  get(name: string): string | null
  getAll(name: string): string[]
  has(name: string, value?: string): boolean
  set(name: string, value: string): void
  sort(): void
  forEach(run: (value: string, name: string, params: URLSearchParams) => void, self?: unknown): void
  entries(): IterableIterator<[string, string]>
  keys(): IterableIterator<string>
  values(): IterableIterator<string>
  [Symbol.iterator](): IterableIterator<[string, string]>
  toString(): string
}

declare class Headers {
  constructor(init?: Headers | Iterable<readonly [string, string]> | Readonly<Record<string, string>>)
  append(name: string, value: string): void
  delete(name: string): void
  get(name: string): string | null
  getSetCookie(): string[]
  has(name: string): boolean
  set(name: string, value: string): void
  forEach(run: (value: string, name: string, headers: Headers) => void, self?: unknown): void
  entries(): IterableIterator<[string, string]>
  keys(): IterableIterator<string>
  values(): IterableIterator<string>
  [Symbol.iterator](): IterableIterator<[string, string]>
}

declare class Event {
  constructor(type: string, options?: { cancelable?: boolean })
  get type(): string
  readonly target: EventTarget | null
  get currentTarget(): EventTarget | null
  get cancelable(): boolean
  get defaultPrevented(): boolean
  preventDefault(): void
  stopPropagation(): void
  stopImmediatePropagation(): void
}
type EventListener = ((event: Event) => void) | { handleEvent(event: Event): void }
declare class EventTarget {
  addEventListener(type: string, listener: EventListener, options?: { once?: boolean; signal?: AbortSignal }): void
  removeEventListener(type: string, listener: EventListener): void
  /** @returns false when a listener prevented the default */
  dispatchEvent(event: Event): boolean
}
declare class AbortSignal extends EventTarget {
  private constructor()
  static abort(reason?: unknown): AbortSignal
  static timeout(ms: number): AbortSignal
  static any(signals: Iterable<AbortSignal>): AbortSignal
  get aborted(): boolean
  get reason(): unknown
  onabort: ((event: Event) => void) | null
  throwIfAborted(): void
}
declare class AbortController {
  get signal(): AbortSignal
  abort(reason?: unknown): void
}
declare class DOMException extends Error {
  constructor(message?: string, name?: string)
  get name(): string
  get code(): number
}
