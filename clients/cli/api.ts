import type { Connection } from './connection.ts'
import { plain } from './print.ts'
import { Exit, Stop } from './stop.ts'

/** RFC 9457, as the server sends it. */
interface Problem {
  detail?: string
  code?: string
  requestId?: string
  permission?: string
}

export interface AskOptions {
  query?: Record<string, string | number | undefined>
  /** The longest until the answer begins, ms. */
  patienceMs?: number
}

/** The public API as a holder of a key sees it; whatever goes wrong is a Stop with the next thing to type. */
export class Api {
  readonly #connection: Connection
  readonly #interrupted: AbortSignal

  constructor(connection: Connection, interrupted: AbortSignal) {
    this.#connection = connection
    this.#interrupted = interrupted
  }

  /** @throws Stop */
  async get<T>(path: string, options: AskOptions = {}): Promise<T> {
    const answer = await this.ask(path, options)
    try {
      return (await answer.json()) as T
    } catch (error) {
      if (this.#interrupted.aborted) throw interrupted()
      throw error instanceof SyntaxError ? this.#stranger(answer) : this.#noAnswer(error)
    }
  }

  /** The answer with its body still to be read. @throws Stop for any that is not 2xx */
  async ask(path: string, { query = {}, patienceMs = 30_000 }: AskOptions = {}): Promise<Response> {
    const { url, token, tenant } = this.#connection
    const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]))
    const search = given.length > 0 ? `?${new URLSearchParams(given)}` : ''
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(new Error(`no answer in ${patienceMs / 1000} s`)), patienceMs)
    let answer: Response
    try {
      answer = await fetch(`${url}${path}${search}`, {
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json, application/x-ndjson, application/problem+json',
          ...(tenant === undefined ? {} : { 'agentos-tenant': tenant })
        },
        redirect: 'manual', // a key is for the address that was given
        signal: AbortSignal.any([late.signal, this.#interrupted])
      })
    } catch (error) {
      throw this.#interrupted.aborted ? interrupted() : this.#noAnswer(error)
    } finally {
      clearTimeout(timer)
    }
    if (answer.ok) return answer
    throw this.#refused(answer, await problemIn(answer))
  }

  #noAnswer(error: unknown): Stop {
    const reason = plain(reasonOf(error))
    return new Stop(
      Exit.unreachable,
      `nothing answers at ${this.#connection.url} (${reason}): start a server with npm start, or set AGENTOS_URL`
    )
  }

  #stranger({ status }: Pick<Response, 'status'>): Stop {
    const { url } = this.#connection
    return new Stop(Exit.unreachable, `${url} answers ${status} and is no AgentOS server: set AGENTOS_URL`)
  }

  #refused({ status }: Response, problem: Problem | null): Stop {
    const { url, source } = this.#connection
    if (problem === null) return this.#stranger({ status })
    const { code = '', detail = '', requestId = '', permission } = problem
    if (status === 401) {
      return new Stop(
        Exit.auth,
        `${url} does not take the key of ${source}: set AGENTOS_TOKEN to one that is valid there`
      )
    }
    if (status === 403 && permission !== undefined) {
      return new Stop(
        Exit.auth,
        plain(`the key of ${source} lacks the permission ${permission}: set AGENTOS_TOKEN to a key that has it`)
      )
    }
    if (status === 403 || code === 'AUTH_TENANT_REQUIRED') {
      return new Stop(
        Exit.auth,
        plain(`${detail} (${code}): agentos whoami shows whose key it is, --tenant names a tenant`)
      )
    }
    const quote = requestId === '' ? '' : `, request ${requestId}`
    return new Stop(Exit.failed, plain(`${detail || `the server answered ${status}`} (${code}${quote})`))
  }
}

export function interrupted(): Stop {
  return new Stop(Exit.interrupted, 'interrupted')
}

async function problemIn(answer: Response): Promise<Problem | null> {
  if (!answer.headers.get('content-type')?.startsWith('application/problem+json')) return null
  return (await answer.json().catch(() => null)) as Problem | null
}

/** What failed: fetch says "fetch failed" or "terminated", and has it in its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && typeof error.code === 'string') return error.code
  return error.cause === undefined ? error.message : reasonOf(error.cause)
}
