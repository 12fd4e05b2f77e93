import { once } from 'node:events'
import type { Test } from 'tap'
import { type ClientOptions, WebSocket } from 'ws'
import { z } from 'zod'
import { createBus } from '#core/bus/index.ts'
import { defineEvent } from '#core/events.ts'
import { type LimitTable, RateLimits } from '#core/http/limits/index.ts'
import { must } from '#core/must.ts'
import { Gateway, type GatewayOptions, gatewayRoom } from '#core/ws/index.ts'
import { type TestAppOptions, testApp } from '#test/support/app.ts'
import { until } from '#test/support/until.ts'

export const Rang = defineEvent('bell.rang', {
  subject: 'bell',
  data: z.strictObject({ n: z.number(), pad: z.string().optional() })
})
export const Cried = defineEvent('crier.cried', {
  subject: 'crier',
  data: z.strictObject({ n: z.number() }),
  stream: 'platform'
})

// biome-ignore lint/suspicious/noExplicitAny: frames are looked at by t.match
type Frame = any

/** A client as strangers write them: sends frames, keeps what comes. */
export class Client {
  readonly socket: WebSocket
  readonly frames: Frame[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  #next = 1

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, options)
    this.socket.on('message', (data) => this.frames.push(JSON.parse(String(data))))
    this.socket.on('error', () => {}) // 'close' follows
    this.closed = once(this.socket, 'close').then(([code, reason]) => ({ code, reason: String(reason) }))
  }

  get events(): Frame[] {
    return this.frames.flatMap((frame) => frame.events ?? (frame.event ? [frame] : []))
  }

  async request(method: string, params?: object): Promise<Frame> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open')
    const id = String(this.#next++)
    this.socket.send(JSON.stringify({ id, method, ...(params ? { params } : {}) }))
    await until(() => this.frames.some((frame) => frame.id === id), `the answer to ${method}`)
    return this.frames.find((frame) => frame.id === id)
  }

  async send(text: string | Buffer): Promise<void> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open')
    this.socket.send(text)
  }
}

export type Served = Awaited<ReturnType<typeof serve>>

/** The app with its gateway, listening. */
export async function serve(
  t: Test,
  { table, ...options }: Partial<GatewayOptions> & { table?: LimitTable } = {},
  methods: (gateway: Gateway) => void = () => {},
  app: Pick<TestAppOptions, 'auth'> = {}
) {
  const test = await testApp(t, {
    ...app,
    rooms: [{ room: gatewayRoom }],
    parts: ({ db, auth, log, clock }) => {
      const bus = createBus({ db, log })
      const rates = table && new RateLimits({ db, clock, table })
      const ws = new Gateway({ auth, bus, db, log, rates, ...options })
      methods(ws)
      return { bus, ws, ...(rates ? { limits: rates } : {}) }
    }
  })
  const { bus, server } = test.app
  await bus.start()
  t.teardown(() => bus.stop())
  await test.app.listen({ port: 0, host: '127.0.0.1' })
  const address = server.address()
  const port = typeof address === 'object' ? must(address, 'the address').port : 0
  const url = `ws://127.0.0.1:${port}/v1/ws`
  const clients = new Set<Client>()
  t.teardown(() => {
    for (const client of clients) client.socket.terminate()
  })
  const connect = (clientOptions?: ClientOptions) => {
    const client = new Client(url, clientOptions)
    clients.add(client)
    return client
  }
  /** Connected and greeted. */
  const enter = async (key: string, hello: object = {}) => {
    const client = connect()
    const answer = await client.request('hello', { protocol: 1, token: key, ...hello })
    if (!answer.result) throw new Error(JSON.stringify(answer))
    return client
  }
  const emit = (tenantId: string, count: number, pad?: string) =>
    test.db.tenant(tenantId, (tx) =>
      bus.emitAll(
        tx,
        Array.from({ length: count }, (_, i) => ({
          type: Rang,
          subjectId: 'b',
          data: { n: i + 1, ...(pad === undefined ? {} : { pad }) }
        }))
      )
    )
  return { ...test, url, port, connect, enter, emit }
}
