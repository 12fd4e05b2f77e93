import type { WebSocket } from 'ws'
import { z } from 'zod'
import type { Auth } from '#core/auth/auth.ts'
import type { Bus } from '#core/bus/types.ts'
import { type Clock, systemClock, type Timer } from '#core/clock.ts'
import type { Db } from '#core/db/types.ts'
import type { Limits } from '#core/http/limits/types.ts'
import type { Log } from '#core/log.ts'
import { Connection, type ConnectionContext, type ConnectionLimits } from './connection.ts'
import { SubscriptionFailed, TooManyConnections } from './errors.ts'
import { Close } from './frames.ts'
import { type Method, Methods } from './methods.ts'
import { SubscribeParams, UnsubscribeParams } from './subscriptions.ts'

export interface GatewayOptions {
  auth: Auth
  bus: Bus
  db: Db
  log: Log
  clock?: Clock
  /** Web pages that may connect, as `https://app.example.com`; pages of this host always may. */
  allowedOrigins?: readonly string[]
  /** Default 200. */
  connectionsPerTenant?: number
  /** Connections that have not said hello, default 1000. */
  strangers?: number
  heartbeatMs?: number
  /** How often every connection's credential is checked anew. Default 2500. */
  renewMs?: number
  /** How old the answer to that may be: with renewMs, the time in which a revocation anywhere ends it. Default 2000. */
  renewalAgeMs?: number
  limits?: Partial<ConnectionLimits>
  /** Counts calls with the tenant's other requests: nobody gets around a limit by changing the door. */
  rates?: Limits | undefined
}

const defaults: ConnectionLimits = {
  helloMs: 5000,
  framesPerSecond: 100,
  concurrent: 32,
  malformedFrames: 10,
  goodbyeMs: 5000,
  highBytes: 1024 * 1024,
  maxBytes: 4 * 1024 * 1024,
  stalledMs: 10_000
}

/** What holders may do on /v1/ws besides the methods of rooms. */
export const wsPermissions = { 'events:read': 'follow the events of the tenant' } as const

/** All connections of this process. */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #clock: Clock
  readonly #methods = new Methods()
  readonly #context: ConnectionContext
  readonly #connections = new Set<Connection>()
  readonly #byTenant = new Map<string, Set<Connection>>()
  readonly #timers: Timer[]
  #closing = false

  constructor(options: GatewayOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const heartbeatMs = options.heartbeatMs ?? 30_000
    this.#context = {
      auth: options.auth,
      bus: options.bus,
      db: options.db,
      clock: this.#clock,
      log: options.log,
      methods: this.#methods,
      limits: { ...defaults, ...options.limits },
      heartbeatMs,
      rates: options.rates,
      admit: (connection, tenantId) => this.#admit(connection, tenantId),
      gone: (connection) => this.#gone(connection)
    }
    const { renewalAgeMs = 2000 } = options
    this.#timers = [
      this.#clock.every(heartbeatMs, () => this.#each((connection) => connection.beat())),
      this.#clock.every(options.renewMs ?? 2500, () => this.#each((connection) => void connection.renew(renewalAgeMs)))
    ]
    this.#addOwnMethods()
  }

  /** Adds a method for clients. @throws WS_METHOD_TAKEN */
  method<P>(name: string, method: Method<P>): void {
    this.#methods.add(name, method)
  }

  /** Name and permission of every method, for the boot's check and the docs. */
  methods(): { method: string; permission: string }[] {
    return this.#methods.permissions()
  }

  get size(): number {
    return this.#connections.size
  }

  /** Takes over an upgraded socket. */
  accept(
    socket: WebSocket,
    request: { origin?: string; host?: string; authorization?: string; from?: string; query?: boolean }
  ): void {
    const refusal = this.#refusal(request)
    if (refusal) {
      socket.close(...refusal)
      return
    }
    const token = /^Bearer (\S+)$/i.exec(request.authorization ?? '')?.[1]
    const { from } = request
    const client = { ...(token === undefined ? {} : { token }), ...(from === undefined ? {} : { from }) }
    this.#connections.add(new Connection(socket, this.#context, client))
  }

  #refusal(request: { origin?: string; host?: string; from?: string; query?: boolean }): [number, string] | null {
    if (this.#closing) return [Close.goingDown, this.#retryHint()]
    // Nothing is asked for there, so what stands there is a token by mistake. It is in the logs of every proxy on the way.
    if (request.query) {
      this.#options.log.warn(
        { from: request.from },
        'a WebSocket came with a query string: refused, in case it was a token'
      )
      return [Close.unauthorized, 'no token in the address: send it with hello']
    }
    // A browser always says where its page is from; programs do not.
    if (request.origin !== undefined && !this.#mayConnect(request.origin, request.host))
      return [Close.forbidden, 'origin']
    const strangers = this.#connections.size - this.#known()
    if (strangers >= (this.#options.strangers ?? 1000)) return [Close.tooMany, 'too many connections']
    return null
  }

  /** Sends every client away with a hint when to come back; they come back spread over some seconds. */
  close(): void {
    this.#closing = true
    for (const timer of this.#timers) timer.cancel()
    this.#each((connection) => connection.close(Close.goingDown, this.#retryHint(), 1000))
  }

  #retryHint(): string {
    return JSON.stringify({ retryAfterMs: 500 + Math.floor(Math.random() * 4500) })
  }

  #each(run: (connection: Connection) => void): void {
    for (const connection of [...this.#connections]) run(connection)
  }

  #known(): number {
    let known = 0
    for (const connections of this.#byTenant.values()) known += connections.size
    return known
  }

  #mayConnect(origin: string, host: string | undefined): boolean {
    if (this.#options.allowedOrigins?.includes(origin)) return true
    return host !== undefined && URL.canParse(origin) && new URL(origin).host === host
  }

  #admit(connection: Connection, tenantId: string): void {
    const limit = this.#options.connectionsPerTenant ?? 200
    const connections = this.#byTenant.get(tenantId) ?? new Set()
    if (connections.size >= limit) throw new TooManyConnections(limit)
    connections.add(connection)
    this.#byTenant.set(tenantId, connections)
  }

  #gone(connection: Connection): void {
    this.#connections.delete(connection)
    const tenantId = connection.identity?.tenantId
    const connections = tenantId === undefined ? undefined : this.#byTenant.get(tenantId)
    if (!connections || tenantId === undefined) return
    connections.delete(connection)
    if (connections.size === 0) this.#byTenant.delete(tenantId)
  }

  #addOwnMethods(): void {
    this.method('ping', {
      permission: 'authenticated',
      limit: 'read',
      params: z.strictObject({}),
      run: () => ({ at: new Date(this.#clock.now()).toISOString() })
    })
    this.method('subscribe', {
      permission: 'events:read',
      limit: 'read',
      params: SubscribeParams,
      run: ({ auth, subscriptions, reply }, params) =>
        new Promise<void>((resolve, reject) => {
          const answer = (result: object) => {
            reply(result)
            resolve()
          }
          subscriptions.subscribe(auth.tenantId, params, answer, () => reject(new SubscriptionFailed()))
        })
    })
    this.method('unsubscribe', {
      permission: 'authenticated',
      limit: 'read',
      params: UnsubscribeParams,
      run({ subscriptions }, { subscription }) {
        subscriptions.unsubscribe(subscription)
        return { subscription }
      }
    })
  }
}
