import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/index.ts'
import type { SecretsPort } from '#core/ports/secrets.ts'
import type { Secret } from '#core/secret.ts'
import { CapabilityError, type HostCall } from '../../capability.ts'
import { bodyOfAnswer, bytesOfBody, type FetchAnswer, type FetchArguments } from './arguments.ts'
import { ACCEPT_ENCODING, readBody } from './body.ts'
import { type Answer, Exchange } from './client.ts'
import { type ConnectOptions, connectPinned } from './connect.ts'
import { Deadline } from './deadline.ts'
import { failureOf } from './failure.ts'
import { type FetchRule, type Guard, parseUrl } from './guard.ts'
import { type HeaderList, headerOf, redirectedHeaders, requestHeaders, responseHeaders } from './headers.ts'
import { createMask, type Mask } from './mask.ts'
import type { Resolve } from './resolve.ts'
import { fillSecret, planSecret } from './secrets.ts'
import { Trip } from './trip.ts'

export interface FetchLimits {
  /** For everything, DNS to the last byte, all redirects, ms. */
  timeoutMs: number
  /** For one address, ms. */
  connectMs: number
  /** Of an answer's body, unpacked. As base64 it still fits into a host call's answer (1 MiB of JSON). */
  bodyBytes: number
  /** Of an answer's head. */
  headerBytes: number
  headers: number
  redirects: number
}

export const FETCH_LIMITS: FetchLimits = {
  timeoutMs: 10_000,
  connectMs: 3000,
  bodyBytes: 700 * 1024,
  headerBytes: 16 * 1024,
  headers: 100,
  redirects: 3
}

export interface JourneyDeps {
  clock: Clock
  db: Db
  secrets: () => SecretsPort
  resolve: Resolve
  guard: Guard
  limits: FetchLimits
  connect: Pick<ConnectOptions, 'port' | 'trust'>
}

interface Hop {
  url: URL
  method: string
  headers: HeaderList
  body: Buffer | null
  /** Another host sent it here, or sent it away and back. */
  strayed: boolean
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** One ctx.fetch: each hop checked, connected, given its secret and sent as if it were the first. */
export class Journey {
  readonly trip: Trip
  readonly #deps: JourneyDeps
  readonly #call: HostCall
  readonly #args: FetchArguments[0]
  readonly #first: Hop
  readonly #secrets: Secret[] = []
  mask: Mask = createMask([])

  /** @throws CapabilityError for a request that no check of a host could let through */
  constructor(deps: JourneyDeps, call: HostCall, args: FetchArguments[0]) {
    this.#deps = deps
    this.#call = call
    this.#args = args
    this.#first = firstHop(call, args)
    this.trip = new Trip(args.method, this.#first.url, deps.clock)
  }

  /** @throws CapabilityError; what the vault throws beside its refusal */
  async run(): Promise<FetchAnswer> {
    const { clock, limits } = this.#deps
    const deadline = new Deadline(clock, limits.timeoutMs, this.#call.signal)
    try {
      let hop = this.#first
      for (;;) {
        const done = await this.#hop(hop, deadline)
        if ('answer' in done) return done.answer
        hop = done.next
      }
    } finally {
      deadline.end()
    }
  }

  async #hop(hop: Hop, deadline: Deadline): Promise<{ answer: FetchAnswer } | { next: Hop }> {
    const { guard, resolve, limits, clock, connect } = this.#deps
    const { url, method } = hop
    const host = url.hostname
    const rule = guard.ruleFor(this.#call.permissions, method, url)
    const plan = planSecret(hop.headers, hop.strayed ? withoutSecret(rule) : rule, this.trip.redirects > 0)
    let exchange: Exchange | undefined
    try {
      const addresses = await deadline.within(resolve(host, deadline.signal))
      if (addresses.length === 0) throw new CapabilityError('FETCH_FAILED', `DNS has no address for ${host}`)
      guard.checkAddresses(addresses, method, url)
      const options = { ...connect, clock, attemptMs: limits.connectMs }
      const socket = await connectPinned(host, addresses, deadline.signal, options)
      exchange = new Exchange(url.origin, socket, limits.headerBytes)
      const { headers, secret } = await deadline.within(brokenVault(fillSecret(plan, this.#call, host, this.#deps)))
      if (secret) this.#hide(plan.secret ?? null, secret)
      this.trip.sent = true
      this.trip.bytesOut += hop.body?.length ?? 0
      const answer = await exchange.send(url, { method, headers, body: hop.body }, deadline.signal)
      this.trip.status = answer.status
      if (answer.headers.length > limits.headers) {
        throw new CapabilityError('FETCH_TOO_LARGE', `${host} answered with more than ${limits.headers} headers`)
      }
      const next = this.#redirect(hop, answer)
      return next ? { next } : { answer: await this.#read(hop, answer) }
    } catch (error) {
      if (error instanceof VaultBroken) throw error.cause
      throw failureOf(error, host, deadline.signal)
    } finally {
      await exchange?.close()
    }
  }

  #hide(name: string | null, secret: Secret): void {
    this.trip.secret = name
    this.#secrets.push(secret)
    this.mask = createMask(this.#secrets)
  }

  /** @returns null where the answer is the last one */
  #redirect({ url, method, headers, body, strayed }: Hop, answer: Answer): Hop | null {
    const location = REDIRECTS.has(answer.status) ? headerOf(answer.headers, 'location') : undefined
    if (location === undefined || this.#args.redirect === 'manual') return null
    const failed = (why: string) => new CapabilityError('FETCH_FAILED', `${url.hostname} answered with ${why}`)
    if (this.#args.redirect === 'error') throw failed(`a redirect (${answer.status}), and redirect is "error"`)
    const next = URL.parse(Buffer.from(location, 'latin1').toString(), url)
    if (!next) throw failed(`a redirect (${answer.status}) to what is no URL`)
    if (this.trip.redirects >= this.#deps.limits.redirects) {
      throw failed(`one redirect more than the ${this.#deps.limits.redirects} that are followed`)
    }
    next.hash = ''
    const elsewhere = next.hostname !== url.hostname
    if (elsewhere && this.mask.isIn(next.href)) {
      throw new CapabilityError(
        'CAPABILITY_DENIED',
        `${url.hostname} answered with a redirect that holds the secret, to another host`
      )
    }
    this.trip.redirects++
    this.trip.at = next
    const toGet = rewritesToGet(answer.status, method)
    return {
      url: next,
      method: toGet ? 'GET' : method,
      headers: redirectedHeaders(headers, { host: elsewhere, body: toGet }),
      body: toGet ? null : body,
      strayed: strayed || elsewhere
    }
  }

  async #read({ url, method }: Hop, answer: Answer): Promise<FetchAnswer> {
    const { limits } = this.#deps
    const encoding = method === 'HEAD' ? undefined : codingOf(answer.headers)
    const bytes = await readBody(answer.body, encoding, limits.bodyBytes, (count) => {
      this.trip.bytesIn += count
    })
    const { mask } = this
    const shown = mask.bytes(bytes)
    // A mask is longer than the shortest secrets.
    if (shown.length > limits.bodyBytes) {
      throw new CapabilityError(
        'FETCH_TOO_LARGE',
        `with its secrets masked the answer is larger than ${limits.bodyBytes} bytes`
      )
    }
    return {
      url: mask.text(url.href),
      status: answer.status,
      statusText: mask.text(answer.statusText),
      headers: responseHeaders(answer.headers).map(([name, value]) => [mask.text(name), mask.text(value)]),
      redirected: this.trip.redirects > 0,
      body: bodyOfAnswer(shown)
    }
  }
}

function firstHop(call: HostCall, args: FetchArguments[0]): Hop {
  const url = parseUrl(args.url)
  const { method } = args
  const body = bytesOfBody(args.body)
  const headers = requestHeaders(args.headers)
  const reads = method === 'GET' || method === 'HEAD'
  if (reads && body) throw new CapabilityError('ARGUMENTS_INVALID', `ctx.fetch: a ${method} has no body`)
  const add = (name: string, value: string) => {
    if (headerOf(headers, name) === undefined) headers.push([name, value])
  }
  if (args.body && 'text' in args.body) add('content-type', 'text/plain;charset=UTF-8')
  if (!reads) add('idempotency-key', idempotencyKeyOf(call))
  add('accept', '*/*')
  add('user-agent', 'agentos')
  headers.push(['accept-encoding', ACCEPT_ENCODING])
  return { url, method, headers, body, strayed: false }
}

/** A host that chose the address would also choose what is done there in the tenant's name. */
function withoutSecret({ host, methods }: FetchRule): FetchRule {
  return { host, methods }
}

/**
 * By its place in the tool call, which a repeated attempt has again whatever was answered before: the first host call of
 * a tool sends the step's effect key itself, each later one has its number behind it.
 */
function idempotencyKeyOf({ n, effectKey, idempotencyKey }: HostCall): string {
  const key = n === 1 ? effectKey : idempotencyKey
  return encodeURI(key)
}

// As browsers do (Fetch, "HTTP-redirect fetch").
function rewritesToGet(status: number, method: string): boolean {
  if (status === 303) return method !== 'GET' && method !== 'HEAD'
  return (status === 301 || status === 302) && method === 'POST'
}

/** Several headers of one name are one list. */
function codingOf(headers: HeaderList): string | undefined {
  const values = headers.filter(([name]) => name === 'content-encoding').map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(',')
}

/** A vault that does not answer is ours to log, not the author's to read as the host's failure. */
class VaultBroken extends Error {}

async function brokenVault<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    throw cause instanceof CapabilityError ? cause : new VaultBroken('the vault did not answer', { cause })
  }
}
