import type { WebSocket } from 'ws'
import { z } from 'zod'
import { actorOf } from '#core/auth/actor.ts'
import type { Auth, Identity } from '#core/auth/auth.ts'
import type { Asking } from '#core/auth/authorize.ts'
import type { Credential } from '#core/auth/credential.ts'
import type { Bus } from '#core/bus/types.ts'
import type { Clock, Timer } from '#core/clock.ts'
import type { Db } from '#core/db/types.ts'
import type { AppError } from '#core/errors.ts'
import type { Limits } from '#core/http/limits/types.ts'
import { logError, toAppError } from '#core/http/problem.ts'
import { newId } from '#core/ids.ts'
import type { Log } from '#core/log.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { TenantSuspended } from '#core/tenants/errors.ts'
import { HelloRequired, HelloTwice, ProtocolUnsupported, TenantChanged } from './errors.ts'
import {
  Close,
  errorFrame,
  MAX_FRAME_BYTES,
  parseFrame,
  parseParams,
  type RequestFrame,
  resultFrame
} from './frames.ts'
import type { MethodContext, Methods } from './methods.ts'
import { Outlet, type OutletLimits } from './outlet.ts'
import { Subscriptions } from './subscriptions.ts'

export interface ConnectionLimits extends OutletLimits {
  helloMs: number
  /** Frames a second, on average; twice as many at once. */
  framesPerSecond: number
  /** Requests at work; more wait unread in the socket. */
  concurrent: number
  malformedFrames: number
  /** How long a client that was told to go may take to read that. */
  goodbyeMs: number
}

/** What a connection needs of the gateway. */
export interface ConnectionContext {
  auth: Auth
  bus: Bus
  db: Db
  clock: Clock
  log: Log
  methods: Methods
  limits: ConnectionLimits
  heartbeatMs: number
  rates: Limits | undefined
  /** Counts the connection against its tenant's cap. @throws WS_TOO_MANY_CONNECTIONS */
  admit(connection: Connection, tenantId: string): void
  gone(connection: Connection): void
}

const Hello = z.strictObject({
  protocol: z.number(),
  token: z.string().min(1).max(8192).optional(),
  tenant: z.string().min(1).max(128).optional(),
  batch: z.boolean().optional()
})

const UNAUTHORISED: [number, string] = [Close.unauthorized, 'no longer authorised']
const SUSPENDED: [number, string] = [Close.forbidden, 'tenant suspended']

/** One client: hello, then requests, each answered once, and the events of its subscriptions. */
export class Connection {
  readonly id = newId()
  readonly subscriptions: Subscriptions
  /** Set by hello, renewed with every request. */
  identity: Identity | undefined
  alive = true
  readonly #socket: WebSocket
  readonly #context: ConnectionContext
  readonly #outlet: Outlet
  readonly #ended = new AbortController()
  readonly #helloLimit: Timer
  readonly #from: { from?: string }
  #token: Secret | undefined
  /** What hello proved; the token itself is not kept. */
  #credential: Credential | undefined
  #tenant: string | undefined
  #greeting: Promise<void> | undefined
  readonly #waiting: RequestFrame[] = []
  #running = 0
  #malformed = 0
  #allowance: number
  #allowanceAt: number

  /** @param client `token` of the Authorization header of the upgrade, `from`: the client's address */
  constructor(socket: WebSocket, context: ConnectionContext, client: { token?: string; from?: string }) {
    const { clock, limits } = context
    this.#socket = socket
    this.#context = context
    this.#token = client.token === undefined ? undefined : new Secret(client.token)
    this.#from = client.from === undefined ? {} : { from: client.from }
    this.#outlet = new Outlet(socket, clock, limits, () => this.close(Close.slow, 'slow consumer'))
    this.subscriptions = new Subscriptions(context.bus, this.#outlet)
    this.#allowance = limits.framesPerSecond * 2
    this.#allowanceAt = clock.monotonic()
    this.#helloLimit = clock.after(limits.helloMs, () => this.close(Close.noHello, 'no hello'))
    socket.on('message', (data, isBinary) => this.#receive(String(data), isBinary))
    socket.on('pong', () => {
      this.alive = true
    })
    socket.on('close', () => this.#end())
  }

  /** Ends the connection; what still runs for it is aborted. The client has `goodbyeMs` to read why. */
  close(code: number, reason: string, goodbyeMs = this.#context.limits.goodbyeMs): void {
    if (this.#ended.signal.aborted) return
    this.#end()
    this.#socket.resume() // a paused socket would never read the client's close frame
    this.#socket.close(code, reason)
    this.#context.clock.after(goodbyeMs, () => this.#socket.terminate())
  }

  /** Ends a client that answers no ping, asks the others. */
  beat(): void {
    if (this.alive) this.#socket.ping()
    else this.#socket.terminate()
    this.alive = false
  }

  /** Asks again who this is, for what the connection does without being asked: sending events. */
  async renew(maxAgeMs: number): Promise<void> {
    if (!this.identity || this.#ended.signal.aborted) return
    try {
      const now = await this.#reauthorize(maxAgeMs)
      if (this.subscriptions.size > 0) this.#context.auth.require(now, 'events:read')
    } catch (thrown) {
      // What else fails is the database's trouble, not the client's.
      if (toAppError(thrown).status === 403) this.close(Close.unauthorized, 'no longer authorised')
    }
  }

  /** Who this is now. A credential that is over, a member who is gone, a suspended tenant: the connection ends. */
  async #reauthorize(maxAgeMs?: number): Promise<Identity> {
    try {
      const credential = must(this.#credential, 'the credential of a greeted connection')
      const now = await this.#context.auth.authorize(credential, this.#asking(), maxAgeMs)
      // the connection is counted with its tenant, and its events are that tenant's
      if (this.identity && this.identity.tenantId !== now.tenantId) throw new TenantChanged()
      return now
    } catch (thrown) {
      const error = toAppError(thrown)
      if (error.status >= 400 && error.status < 500 && error.status !== 429)
        queueMicrotask(() => this.close(...(error.code === TenantSuspended.code ? SUSPENDED : UNAUTHORISED)))
      throw error
    }
  }

  #asking(): Asking {
    return { ...this.#from, ...(this.#tenant === undefined ? {} : { tenant: this.#tenant }) }
  }

  #end(): void {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    this.#helloLimit.cancel()
    this.#outlet.stop()
    this.subscriptions.close()
    this.#context.gone(this)
  }

  #receive(text: string, isBinary: boolean): void {
    if (this.#ended.signal.aborted) return
    if (!this.#allowed()) {
      this.close(Close.tooMany, 'too many frames')
      return
    }
    let frame: RequestFrame
    try {
      frame = parseFrame(isBinary ? '' : text)
    } catch (thrown) {
      this.#fail(null, toAppError(thrown))
      if (++this.#malformed >= this.#context.limits.malformedFrames) this.close(Close.protocol, 'malformed frames')
      return
    }
    this.#waiting.push(frame)
    this.#next()
  }

  // What one chunk of bytes held waits here, the rest unread in the socket: the client feels it.
  #next(): void {
    const { concurrent } = this.#context.limits
    while (this.#running < concurrent && !this.#ended.signal.aborted) {
      const frame = this.#waiting.shift()
      if (!frame) break
      this.#running++
      void this.#answer(frame).finally(() => {
        this.#running--
        this.#next()
      })
    }
    if (this.#running >= concurrent) this.#socket.pause()
    else if (this.#socket.isPaused) this.#socket.resume()
  }

  #allowed(): boolean {
    const { clock, limits } = this.#context
    const now = clock.monotonic()
    const earned = ((now - this.#allowanceAt) / 1000) * limits.framesPerSecond
    this.#allowance = Math.min(limits.framesPerSecond * 2, this.#allowance + earned) - 1
    this.#allowanceAt = now
    return this.#allowance >= 0
  }

  async #answer(frame: RequestFrame): Promise<void> {
    let answered = false
    const reply = (result: unknown) => {
      if (answered) return
      answered = true
      this.#outlet.send(resultFrame(frame.id, result))
    }
    try {
      if (frame.method === 'hello') {
        reply(await this.#greet(frame))
        return
      }
      if (!this.#greeting) {
        this.#fail(frame.id, new HelloRequired(), frame)
        this.close(Close.protocol, 'hello first')
        return
      }
      // A client may send its first requests right behind hello.
      await this.#greeting
      if (!this.identity || this.#ended.signal.aborted) return
      reply(await this.#call(frame, reply))
    } catch (thrown) {
      const error = toAppError(thrown)
      if (!answered) this.#fail(frame.id, error, frame)
      answered = true
      if (frame.method === 'hello') this.#refuse(error)
    }
  }

  async #call(frame: RequestFrame, reply: (result: unknown) => void): Promise<unknown> {
    const method = this.#context.methods.get(frame.method)
    const identity = await this.#reauthorize()
    this.identity = identity
    await this.#context.rates?.admit({ tenantId: identity.tenantId }, method.limit ?? 'write')
    const requestId = newId()
    const auth = { ...identity, actor: actorOf(identity, { requestId, ...this.#from }) }
    if (method.permission !== 'authenticated') this.#context.auth.require(auth, method.permission)
    const params = parseParams(method.params, frame.params)
    const context: MethodContext = {
      auth,
      connectionId: this.id,
      requestId,
      signal: this.#ended.signal,
      tenant: (work) => this.#context.db.tenant(auth, work),
      subscriptions: this.subscriptions,
      reply
    }
    return await method.run(context, params)
  }

  async #greet(frame: RequestFrame): Promise<unknown> {
    if (this.#greeting) throw new HelloTwice()
    const greeting = this.#identify(frame)
    // Requests that came right behind find no identity and are dropped with the connection.
    this.#greeting = greeting.catch(() => {})
    await greeting
    this.#helloLimit.cancel()
    return {
      protocol: 1,
      connection: this.id,
      tenantId: this.identity?.tenantId,
      heartbeatMs: this.#context.heartbeatMs,
      maxFrameBytes: MAX_FRAME_BYTES,
      methods: this.#context.methods.names()
    }
  }

  async #identify(frame: RequestFrame): Promise<void> {
    const protocol = frame.params?.protocol
    if (protocol !== 1) throw new ProtocolUnsupported(protocol)
    const { token, tenant, batch = false } = parseParams(Hello, frame.params)
    const shown = token ?? this.#token?.reveal()
    this.#token = undefined
    this.#tenant = tenant
    const { credential, identity } = await this.#context.auth.prove(shown, { ...this.#asking(), ticket: true })
    this.#credential = credential
    // From here on: a user who joins a second tenant meanwhile need not say which.
    this.#tenant = identity.tenantId
    if (this.#ended.signal.aborted) return
    this.#context.admit(this, identity.tenantId)
    this.subscriptions.batch = batch
    this.identity = identity
  }

  #refuse(error: AppError): void {
    if (error.code === HelloTwice.code) return
    if (error.status === 401) this.close(Close.unauthorized, 'not authorised')
    else if (error.status === 403) this.close(Close.forbidden, 'not allowed')
    else if (error.status === 429) this.close(Close.tooMany, 'too many connections')
    else if (error.status >= 500) this.close(1013, 'try again later')
    else this.close(Close.protocol, 'bad hello')
  }

  #fail(id: string | null, error: AppError, said?: RequestFrame): void {
    const requestId = newId()
    logError(this.#context.log.child({ requestId, connection: this.id }), error)
    this.#outlet.send(errorFrame(id, error, requestId, said))
  }
}
