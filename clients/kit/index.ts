// agentos/skill: the types of a skill's tools and of what the sandbox hands them. Types only: a skill that is packed imports
// nothing at run time but its own files.

/**
 * A tool: the export of the name that skill.json gives it.
 * @typeParam Input what skill.json's `input` schema lets through: it was checked before the call
 * @typeParam Output held to the `output` schema after the call; a JSON value
 * @typeParam Uses what skill.json's `permissions` ask for, so that `ctx` has no more than that
 */
export type Tool<Input = unknown, Output = unknown, Uses extends Capability = Capability> = (
  input: Input,
  ctx: Context<Uses>
) => Result<Output> | Promise<Result<Output>>

/** The permissions of skill.json by the name of their group in ctx; `:read` where only reading is asked for. */
export type Capability = keyof Groups

/** A tool's second argument. A tenant may grant less than skill.json asks for: what was not granted is not there. */
export type Context<Uses extends Capability = Capability> = Always & Both<Groups[Uses]>

interface Always {
  readonly session: Session
  /** Fires when the call is cancelled or out of time; 40 ms for a last word in the log, host calls are not answered then. */
  readonly signal: AbortSignal
  readonly log: Log
  /** Shows how far the tool is: `fraction` 0 to 1, `message` up to 1000 characters. One host call; need not be awaited. */
  progress(fraction: number, message?: string): Promise<null>
}

interface Groups {
  fetch: { readonly fetch: Fetch }
  storage: { readonly storage: Storage }
  'storage:read': { readonly storage: ReadOnlyStorage }
  files: { readonly files: Files }
  'files:read': { readonly files: ReadOnlyFiles }
  /** Names only: a secret's value is put into a request at egress and never reaches the skill. */
  secrets: { readonly secrets: readonly string[] }
  events: { readonly events: Events }
  model: { readonly model: Model }
  tools: { readonly tools: Tools }
}

export interface Session {
  readonly id: string
  readonly tenantId: string
  readonly step: string
  /** From 1. */
  readonly attempt: number
  /** The same for every attempt of the step; ctx.fetch sends it as Idempotency-Key unless the tool sets its own. */
  readonly effectKey: string
}

export interface Log {
  debug(...parts: unknown[]): void
  info(...parts: unknown[]): void
  warn(...parts: unknown[]): void
  error(...parts: unknown[]): void
}

// --- fetch ------------------------------------------------------------------------------------------------------------
/** https, to the hosts and methods of skill.json. Bodies: 256 KiB out, 1 MiB in. @throws FETCH_*, CAPABILITY_DENIED */
export type Fetch = (url: string | URL | FetchRequest, init?: FetchInit) => Promise<FetchResponse>

export interface FetchInit {
  method?: string | undefined
  headers?: Headers | Iterable<readonly [string, string]> | Readonly<Record<string, string>> | undefined
  /** Text, bytes or a form; FormData and streams are not there. */
  body?: string | ArrayBuffer | ArrayBufferView | URLSearchParams | null | undefined
  redirect?: 'follow' | 'manual' | 'error' | undefined
  /** Ends the waiting; what was sent was sent. */
  signal?: AbortSignal | undefined
}

export interface FetchRequest extends FetchInit {
  url: string
}

/** The body can be read once. */
export interface FetchResponse {
  readonly url: string
  readonly status: number
  readonly statusText: string
  /** status 200 to 299 */
  readonly ok: boolean
  readonly redirected: boolean
  readonly headers: Headers
  readonly bodyUsed: boolean
  text(): Promise<string>
  json<T = unknown>(): Promise<T>
  bytes(): Promise<Uint8Array>
  arrayBuffer(): Promise<ArrayBuffer>
}

// --- storage: JSON values by key, per tenant and skill ----------------------------------------------------------------
export interface Stored<T = unknown> {
  value: T
  /** From 1; each write adds one. */
  version: number
}

export interface ReadOnlyStorage {
  get<T = unknown>(key: string): Promise<Stored<T> | null>
  /** Keys in order; `next` is the `after` of the following page, null at the end. */
  list(options?: { prefix?: string; after?: string; limit?: number }): Promise<{
    keys: { key: string; version: number; bytes: number }[]
    next: string | null
  }>
}

export interface Storage extends ReadOnlyStorage {
  /**
   * `ifVersion` writes only over that version, 0 only where there is nothing.
   * @throws STORAGE_CONFLICT when another version is there, STORAGE_QUOTA
   */
  set(key: string, value: Storable, options?: { ifVersion: number }): Promise<{ version: number }>
  /** @returns whether there was one @throws STORAGE_CONFLICT */
  delete(key: string, options?: { ifVersion: number }): Promise<boolean>
}

/** Anything but undefined, which is no JSON value. */
// biome-ignore lint/complexity/noBannedTypes: {} | null is "not undefined" in TypeScript
export type Storable = {} | null

// --- files: the session's workspace -----------------------------------------------------------------------------------
export interface FileEntry {
  path: string
  bytes: number
  updatedAt: string
}

export interface ReadOnlyFiles {
  /** UTF-8. A long file is read in several host calls, unless `length` (in bytes) asks for a part. @throws FILES_* */
  read(path: string, range?: { offset?: number; length?: number }): Promise<string>
  readBytes(path: string, range?: { offset?: number; length?: number }): Promise<Uint8Array>
  list(options?: string | { prefix?: string; after?: string; limit?: number }): Promise<{
    files: FileEntry[]
    next: string | null
  }>
  stat(path: string): Promise<FileEntry | null>
}

export interface Files extends ReadOnlyFiles {
  /** At most 256 KiB of JSON at once: write the first part, append the rest. @throws FILES_QUOTA */
  write(path: string, content: FileContent): Promise<{ path: string; bytes: number }>
  append(path: string, content: FileContent): Promise<{ path: string; bytes: number }>
  delete(path: string): Promise<boolean>
}

export type FileContent = string | ArrayBuffer | ArrayBufferView

// --- events, model, tools ---------------------------------------------------------------------------------------------
export interface Events {
  /** @param type one of skill.json's; published under the skill's own name @throws EVENTS_TOO_LARGE, EVENTS_LIMIT */
  publish(type: string, data: object): Promise<{ event: string }>
}

export interface Message {
  role: 'system' | 'user' | 'assistant'
  content: string
}

export interface Model {
  /** @throws MODEL_UNAVAILABLE, MODEL_BUDGET */
  run(
    request: ({ prompt: string } | { messages: readonly Message[] }) & { model?: string; maxTokens?: number }
  ): Promise<{ text: string; model: string; usage: { inputTokens: number; outputTokens: number } }>
}

export interface Tools {
  /** Calls another installed skill's tool, `skill.tool`. @throws TOOL_DEPTH beyond 8, and the tool's own codes */
  call<T = unknown>(address: string, input?: unknown): Promise<T>
}

// --- errors -----------------------------------------------------------------------------------------------------------
/** `code` of the errors that ctx rejects with. tools.call has the codes of the tool that failed, too. */
export type ErrorCode =
  | 'CAPABILITY_DENIED'
  | 'ARGUMENTS_INVALID'
  | 'ARGUMENTS_TOO_LARGE'
  | 'HOST_RESULT_TOO_LARGE'
  | 'HOST_CALL_FAILED'
  | 'SANDBOX_HOST_CALLS'
  | 'SANDBOX_TIMEOUT'
  | 'FETCH_FAILED'
  | 'FETCH_TIMEOUT'
  | 'FETCH_TOO_LARGE'
  | 'STORAGE_CONFLICT'
  | 'STORAGE_QUOTA'
  | 'FILES_NOT_FOUND'
  | 'FILES_NOT_TEXT'
  | 'FILES_QUOTA'
  | 'EVENTS_LIMIT'
  | 'EVENTS_TOO_LARGE'
  | 'MODEL_UNAVAILABLE'
  | 'MODEL_BUDGET'
  | 'TOOL_DEPTH'

/** What a `catch` around ctx gets: `if ((error as CapabilityError).code === 'STORAGE_CONFLICT') ...` */
export interface CapabilityError extends Error {
  readonly code: ErrorCode
}

// --- JSON -------------------------------------------------------------------------------------------------------------
/** T where it survives JSON; `never` where a part would be lost: undefined, a function, a bigint, a Map, a Promise ... */
export type Result<T> = unknown extends T ? T : undefined extends T ? never : Json<T>

type Json<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends Lost
    ? never
    : T extends object
      ? { [K in keyof T]: unknown extends T[K] ? T[K] : Json<T[K]> }
      : never
type Lost =
  | ((...args: never[]) => unknown)
  | Date
  | RegExp
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | PromiseLike<unknown>
  | ArrayBuffer
  | ArrayBufferView

type Both<U> = (U extends unknown ? (one: U) => void : never) extends (all: infer I) => void ? I : never
