import { systemClock } from '#core/clock.ts'

/** A frame of the server, as docs/spec/wire.md has it. */
export interface WireFrame {
  id?: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  result?: any
  error?: { code: string; status: number; message: string; details?: Record<string, unknown> }
  event?: string
  seq?: number
  tenantId?: string | null
  subject?: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of every shape
  data?: any
}

export interface WireClient {
  request(method: string, params?: object): Promise<WireFrame>
  /** Text as it is, for frames that are none. */
  send(text: string): void
  /** Everything that answered no request: events, and errors without an id. */
  readonly others: WireFrame[]
  /** Waits until one of `others` fits. */
  sees(fits: (frame: WireFrame) => boolean, what: string): Promise<WireFrame>
  readonly closed: Promise<number>
  close(): void
}

const PATIENCE_MS = 15_000

/** A bare WebSocket on a server's `/v1/ws`. */
export async function wsClient(url: string): Promise<WireClient> {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/ws`)
  const others: WireFrame[] = []
  const waiting = new Map<string, (frame: WireFrame) => void>()
  const closed = new Promise<number>((resolve) => {
    socket.onclose = ({ code }) => resolve(code)
  })
  socket.onerror = () => {}
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(String(data)) as WireFrame
    const answer = frame.id === undefined ? undefined : waiting.get(frame.id)
    if (answer) answer(frame)
    else others.push(frame)
  }
  const opened = new Promise<void>((resolve) => {
    socket.onopen = () => resolve()
  })
  await Promise.race([opened, closed])
  let count = 0
  return {
    others,
    closed,
    close: () => socket.close(),
    send: (text) => socket.send(text),
    async request(method, params = {}) {
      const id = String(++count)
      const answer = new Promise<WireFrame>((resolve) => waiting.set(id, resolve))
      socket.send(JSON.stringify({ id, method, params }))
      const gone = closed.then((code): WireFrame => ({ error: { code: `CLOSED_${code}`, status: code, message: '' } }))
      return await Promise.race([answer, gone])
    },
    async sees(fits, what) {
      const end = systemClock.monotonic() + PATIENCE_MS
      for (;;) {
        const found = others.find(fits)
        if (found) return found
        if (systemClock.monotonic() > end) throw new Error(`never seen: ${what}; ${JSON.stringify(others)}`)
        await systemClock.sleep(5)
      }
    }
  }
}
