import type { ZodType } from 'zod'
import type { Identity } from '#core/auth/auth.ts'
import type { Tx } from '#core/db/types.ts'
import type { RouteClass } from '#core/http/limits/types.ts'
import { MethodTaken, MethodUnknown } from './errors.ts'
import type { Subscriptions } from './subscriptions.ts'

/** What a method knows of its caller. */
export interface MethodContext {
  /** Checked against the method's permission for this very call. */
  auth: Identity
  connectionId: string
  requestId: string
  /** Aborted when the connection ends. */
  signal: AbortSignal
  /** One transaction of the caller's tenant. */
  tenant<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /** What this connection follows. */
  subscriptions: Subscriptions
  /** Answers before `run` ends, where something must follow the answer (events after `subscribe`). */
  reply(result: unknown): void
}

export interface Method<P = unknown> {
  /** Every method names one; `authenticated` is any valid identity. */
  permission: string
  params: ZodType<P>
  /** What a call counts as; `write` unless it says so, for a call may do anything. */
  limit?: RouteClass
  run(context: MethodContext, params: P): unknown
}

/** The methods of /v1/ws by name. */
export class Methods {
  readonly #byName = new Map<string, Method>()

  /** @throws WS_METHOD_TAKEN */
  add<P>(name: string, method: Method<P>): void {
    if (name === 'hello' || this.#byName.has(name)) throw new MethodTaken(name)
    // params has passed the method's own schema whenever run is called
    this.#byName.set(name, { ...method, run: (context, params) => method.run(context, params as P) })
  }

  /** @throws WS_METHOD_UNKNOWN */
  get(name: string): Method {
    const method = this.#byName.get(name)
    if (!method) throw new MethodUnknown(name, this.names())
    return method
  }

  names(): string[] {
    return ['hello', ...this.#byName.keys()].sort()
  }

  permissions(): { method: string; permission: string }[] {
    return [...this.#byName].map(([method, { permission }]) => ({ method, permission }))
  }
}
