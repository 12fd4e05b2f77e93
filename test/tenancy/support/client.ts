import { once } from 'node:events'
import { WebSocket } from 'ws'
import { until } from '#test/support/until.ts'

export interface Frame {
  id?: string | null
  result?: Record<string, unknown>
  error?: { code: string; status: number; message: string }
}

/** A WebSocket client that keeps every frame as it came. */
export class Client {
  readonly socket: WebSocket
  readonly texts: string[] = []
  readonly #answers = new Map<string, Frame>()
  #next = 1

  constructor(url: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(url, { headers })
    this.socket.on('error', () => {}) // 'close' follows
    this.socket.on('message', (data) => {
      const text = String(data)
      this.texts.push(text)
      const frame = JSON.parse(text) as Frame
      if (typeof frame.id === 'string') this.#answers.set(frame.id, frame)
    })
  }

  /** @returns the answer, or a closed connection as an error */
  async request(method: string, params: object): Promise<Frame> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open')
    const id = String(this.#next++)
    this.socket.send(JSON.stringify({ id, method, params }))
    const closed = () => this.socket.readyState === WebSocket.CLOSED
    await until(() => this.#answers.has(id) || closed(), `the answer to ${method}`)
    return this.#answers.get(id) ?? { id, error: { code: 'closed', status: 0, message: '' } }
  }
}
