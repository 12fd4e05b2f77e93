import type { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { Client, type Dispatcher } from 'undici'
import type { HeaderList } from './headers.ts'

/** Answers before the answer (103 Early Hints): one or two are usual, a host could send them for ever. */
const MAX_INFORMATIONAL = 8

export interface Answer {
  status: number
  statusText: string
  /** Names in lower case, values as latin1. */
  headers: HeaderList
  body: Readable
}

/**
 * One request over one connection that stands already, and which ends with it. Nothing is pooled: a connection that
 * outlived its request would carry what was checked, attached and logged in for one skill into the request of another.
 */
export class Exchange {
  readonly #client: Client
  readonly #socket: TLSSocket

  /** @param socket made by connectPinned; it goes when this is closed */
  constructor(origin: string, socket: TLSSocket, maxHeaderBytes: number) {
    let used = false
    this.#socket = socket
    this.#client = new Client(origin, {
      connect: (_options, callback) => {
        // undici connects again when a connection breaks before the request went out: there is no other one to give.
        if (used) return callback(new Error('the connection broke'), null)
        used = true
        queueMicrotask(() => callback(null, socket))
      },
      allowH2: false,
      maxHeaderSize: maxHeaderBytes,
      // One deadline for everything stands above, by the clock.
      headersTimeout: 0,
      bodyTimeout: 0
    })
  }

  /** @throws undici's errors; the signal's reason */
  async send(
    url: URL,
    request: { method: string; headers: HeaderList; body: Buffer | null },
    signal: AbortSignal
  ): Promise<Answer> {
    let informational = 0
    const response = await this.#client.request({
      path: `${url.pathname}${url.search}`,
      method: request.method as Dispatcher.HttpMethod,
      headers: request.headers.flat(),
      body: request.body,
      signal,
      reset: true,
      onInfo: () => {
        if (++informational > MAX_INFORMATIONAL) this.#socket.destroy()
      },
      responseHeaders: 'raw'
    })
    response.body.on('error', () => {}) // of a redirect nobody reads it, and it breaks when the connection is closed
    return {
      status: response.statusCode,
      statusText: response.statusText,
      headers: pairsOf(response.headers as unknown as string[]),
      body: response.body
    }
  }

  async close(): Promise<void> {
    await this.#client.destroy()
    this.#socket.destroy()
  }
}

function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < raw.length; i += 2) pairs.push([(raw[i] as string).toLowerCase(), raw[i + 1] as string])
  return pairs
}
