// Starts a session over the WebSocket, follows its events to the end and prints the result. Nothing of AgentOS is
// imported: this is all that a client needs. Run it with Node 22.18 or newer: npx node examples/clients/drive-a-session.ts
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'

const HELP = `Profiles a CSV in a durable session and shows its events as they come.

  AGENTOS_URL=http://127.0.0.1:3000 AGENTOS_TOKEN="$(cat .agentos/owner.key)" \\
    npx node examples/clients/drive-a-session.ts [file.csv]

  AGENTOS_URL    where the server said it is ready
  AGENTOS_TOKEN  an API key with sessions:write, sessions:read and events:read
  file.csv       at most 1 MiB; a few days of weather when it is left out

Exit code: 0 the session completed, 1 it failed or was refused, 2 it could not be asked for (usage, connection, key).
`

const WEATHER = `date,temp_max,wind,weather
2012-01-01,12.8,4.7,drizzle
2012-01-02,10.6,4.5,rain
2012-01-03,11.7,2.3,rain
2012-01-04,12.2,4.7,rain
2012-01-05,8.9,6.1,rain
2012-01-06,4.4,2.2,rain
2012-01-07,7.2,2.3,rain
2012-01-08,10.0,2.0,sun
`

/** A frame of the server: the answer to a request, or an event. docs/spec/wire.md has them all. */
interface Frame {
  id?: string
  result?: Record<string, unknown>
  error?: {
    code: string
    status: number
    message: string
    details?: { errors?: { pointer: string; detail: string }[] }
  }
  event?: string
  seq?: number
  data?: { pct?: number; step?: string; gate?: string; error?: string; code?: string }
}

/** The end of the program: what to say, and the exit code. */
class Stop extends Error {
  readonly code: 1 | 2

  constructor(code: 1 | 2, message: string) {
    super(message)
    this.code = code
  }
}

const ANSWER_MS = 15_000
/** An outage that lasts longer than this ends the program; the session itself goes on. */
const PATIENCE_MS = 60_000
const NO_USE_TO_RETRY = [4400, 4401, 4403]
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** One WebSocket: requests are answered by id, events go to `onEvent`. */
class Connection {
  /** Resolves when the connection is gone, however it went. */
  readonly closed: Promise<{ code: number; reason: string }>
  private readonly socket: WebSocket
  private readonly waiting = new Map<string, (frame: Frame) => void>()
  private count = 0

  constructor(url: URL, onEvent: (frame: Frame) => void) {
    const address = new URL('/v1/ws', url)
    address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    this.socket = new WebSocket(address)
    this.socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame
      if (frame.event !== undefined) return onEvent(frame)
      this.waiting.get(frame.id ?? '')?.(frame)
    }
    this.socket.onerror = () => {} // a close follows, with what there is to know
    this.closed = new Promise((resolve) => {
      this.socket.onclose = ({ code, reason }) => resolve({ code, reason })
    })
  }

  /** @returns false when nobody answers there */
  async open(): Promise<boolean> {
    const opened = new Promise<boolean>((resolve) => {
      this.socket.onopen = () => resolve(true)
    })
    return await Promise.race([opened, this.closed.then(() => false)])
  }

  /** @throws Stop where the server refuses; Error when the connection broke before the answer */
  async request(method: string, params: object): Promise<Record<string, unknown>> {
    const id = String(++this.count)
    const answer = new Promise<Frame>((resolve) => this.waiting.set(id, resolve))
    this.socket.send(JSON.stringify({ id, method, params }))
    const late = AbortSignal.timeout(ANSWER_MS)
    const gaveUp = new Promise<null>((resolve) => late.addEventListener('abort', () => resolve(null), { once: true }))
    const frame = await Promise.race([answer, this.closed.then(() => null), gaveUp])
    this.waiting.delete(id)
    if (frame === null) throw new Error(`no answer to ${method}`)
    if (frame.error) throw refusal(method, frame.error)
    return frame.result ?? {}
  }

  close(): void {
    this.socket.close(1000)
  }
}

function refusal(method: string, error: NonNullable<Frame['error']>): Error {
  const { code, status, message, details } = error
  // Overload and a server that goes down pass; the same Idempotency-Key makes trying again harmless.
  if (status === 503 || code === 'IDEMPOTENCY_IN_FLIGHT') return new Error(message)
  const places = (details?.errors ?? []).filter(({ detail }) => !message.includes(detail))
  const where = places.map(({ pointer, detail }) => `\n  ${pointer || '/'}  ${detail}`).join('')
  if (status === 401 || status === 403) return new Stop(2, `the server refuses this AGENTOS_TOKEN: ${code}, ${message}`)
  return new Stop(1, `${method} was refused: ${code} (${status}), ${message}${where}`)
}

/** What a person sees of the session: a bar on a terminal, a line per event elsewhere. */
function show({ event = '', seq, data = {} }: Frame, pct: number): void {
  const what = [event, data.step ?? data.gate].filter(Boolean).join(' ')
  const share = `${String(pct).padStart(3)} %`
  if (!process.stdout.isTTY) return void process.stdout.write(`${share}  #${seq}  ${what}\n`)
  const full = Math.round((pct / 100) * 30)
  process.stdout.write(`\r${'█'.repeat(full)}${'░'.repeat(30 - full)} ${share}  ${what.slice(0, 38)}\x1b[K`)
}

/** @throws Stop */
function readEnvironment(): { url: URL; token: string } {
  const { AGENTOS_URL, AGENTOS_TOKEN } = process.env
  if (!AGENTOS_URL) throw new Stop(2, 'AGENTOS_URL is not set: say where the server is, like http://127.0.0.1:3000')
  if (!AGENTOS_TOKEN)
    throw new Stop(2, 'AGENTOS_TOKEN is not set: the owner of a new server has a key in .agentos/owner.key')
  const url = URL.canParse(AGENTOS_URL) ? new URL(AGENTOS_URL) : null
  if (!url || !/^https?:$/.test(url.protocol)) throw new Stop(2, `AGENTOS_URL is no http address: ${AGENTOS_URL}`)
  return { url, token: AGENTOS_TOKEN.trim() }
}

async function readCsv(path: string | undefined): Promise<string> {
  if (path === undefined) return WEATHER
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new Stop(2, `${path} cannot be read: ${error instanceof Error ? error.message : error}`)
  }
}

async function main(args: string[]): Promise<void> {
  if (args.includes('--help') || args.includes('-h')) return void process.stdout.write(HELP)
  if (args.length > 1 || args[0]?.startsWith('-')) throw new Stop(2, `unknown arguments: ${args.join(' ')}\n\n${HELP}`)
  const { url, token } = readEnvironment()
  const config = {
    name: 'profile a CSV',
    skills: ['@agentos/csv-profile@^1'],
    input: { csv: await readCsv(args[0]) },
    steps: [
      { id: 'profile', kind: 'tool', tool: 'csv-profile.profile', input: { csv: { $ref: 'input.csv' }, bins: 8 } }
    ]
  }

  // One key for the whole run: however often `create` has to be sent, there is one session.
  const idempotencyKey = randomUUID()
  let sessionId: string | undefined
  let lastSeq = 0
  let pct = 0
  let over = () => {}
  const finished = new Promise<'finished'>((resolve) => {
    over = () => resolve('finished')
  })
  const onEvent = (frame: Frame) => {
    if (frame.event === 'resync') return over() // the history is gone: only GET knows by now
    lastSeq = frame.seq ?? lastSeq
    pct = frame.event === 'session.completed' ? 100 : (frame.data?.pct ?? pct)
    show(frame, pct)
    if (frame.event === 'session.completed' || frame.event === 'session.failed') over()
  }

  let connectedOnce = false
  let failing = 0
  for (let lostAt = 0; ; ) {
    const connection = new Connection(url, onEvent)
    let wait = Math.min(5000, 250 * 2 ** failing)
    try {
      if (await connection.open()) {
        await connection.request('hello', { protocol: 1, token })
        connectedOnce = true
        failing = 0
        sessionId ??= String((await connection.request('session.create', { config, idempotencyKey })).id)
        // After a break the server sends what was missed, from the last seq on: no gap, nothing twice.
        await connection.request('subscribe', { topics: [`session:${sessionId}`], after: lastSeq })
        const ended = await Promise.race([finished, connection.closed])
        if (ended === 'finished') {
          connection.close()
          break
        }
        if (NO_USE_TO_RETRY.includes(ended.code))
          throw new Stop(2, `the server ended it: ${ended.code} ${ended.reason}`)
        if (ended.code === 1012) wait = retryHint(ended.reason) ?? wait
      }
    } catch (error) {
      connection.close()
      if (error instanceof Stop) throw error
    }
    if (!connectedOnce) throw new Stop(2, `nobody answers at ${url.origin}: is the server running?`)
    if (failing === 0) lostAt = Date.now()
    if (Date.now() - lostAt > PATIENCE_MS) {
      throw new Stop(2, `no connection for ${PATIENCE_MS / 1000} s; the session ${sessionId ?? ''} goes on without us`)
    }
    process.stderr.write(`connection lost, trying again in ${wait} ms from seq ${lastSeq}\n`)
    failing += 1
    await sleep(wait)
  }
  if (process.stdout.isTTY) process.stdout.write('\n')
  await report(url, token, String(sessionId))
}

function retryHint(reason: string): number | null {
  try {
    const { retryAfterMs } = JSON.parse(reason) as { retryAfterMs?: number }
    return retryAfterMs ?? null
  } catch {
    return null
  }
}

/** A result may be larger than an event; GET has all of it. @throws Stop when the session failed */
async function report(url: URL, token: string, id: string): Promise<void> {
  const answer = await fetch(new URL(`/v1/sessions/${id}`, url), { headers: { authorization: `Bearer ${token}` } })
  if (!answer.ok) throw new Stop(2, `GET /v1/sessions/${id} answered ${answer.status}`)
  const session = (await answer.json()) as {
    state: string
    result: unknown
    error: { code: string; message: string } | null
  }
  if (session.state !== 'COMPLETE') {
    throw new Stop(1, `session ${id} is ${session.state}: ${session.error?.code ?? ''} ${session.error?.message ?? ''}`)
  }
  process.stdout.write(`session ${id} is COMPLETE\n${JSON.stringify(session.result, null, 2)}\n`)
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = error instanceof Stop ? error.code : 2
}
