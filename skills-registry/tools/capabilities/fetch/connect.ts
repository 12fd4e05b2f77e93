import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import type { Clock } from '#core/clock.ts'
import { isSameAddress } from './address.ts'

export interface ConnectOptions {
  clock: Clock
  /** For one address, TCP and TLS together, ms. */
  attemptMs: number
  /** Of the socket only; the URL's stays 443. For tests. */
  port?: number | undefined
  /** Made once: reading the roots costs half a millisecond. It remembers no sessions. */
  trust: () => SecureContext
}

/** @param ca root certificates instead of the usual ones, PEM */
export function createTrust(ca: string | undefined): () => SecureContext {
  let made: SecureContext | undefined
  return () => {
    made ??= createSecureContext({ minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) })
    return made
  }
}

/** More addresses than this are not tried. */
const MAX_ATTEMPTS = 4

/**
 * A TLS connection to one of these addresses, one after the other (v4 first), and to nothing else: nobody resolves the
 * name again. The certificate is the host's.
 * @throws what the last attempt failed of; the signal's reason
 */
export async function connectPinned(
  host: string,
  addresses: readonly string[],
  signal: AbortSignal,
  options: ConnectOptions
): Promise<TLSSocket> {
  const inOrder = [...addresses]
    .sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')))
    .slice(0, MAX_ATTEMPTS)
  let failure: unknown
  for (const address of inOrder) {
    signal.throwIfAborted()
    try {
      return await attempt(host, address, signal, options)
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

async function attempt(
  host: string,
  address: string,
  signal: AbortSignal,
  options: ConnectOptions
): Promise<TLSSocket> {
  const secureContext = options.trust()
  return new Promise((resolve, reject) => {
    const tcp: Socket = connectTcp({ host: address, port: options.port ?? 443, autoSelectFamily: false })
    let tls: TLSSocket | undefined
    const fail = (error: unknown) => {
      done()
      tls?.destroy()
      tcp.destroy()
      reject(error)
    }
    const aborted = () => fail(signal.reason)
    const timer = options.clock.after(options.attemptMs, () => fail(withCode('no answer in time', 'ETIMEDOUT')))
    const done = () => {
      timer.cancel()
      signal.removeEventListener('abort', aborted)
    }
    signal.addEventListener('abort', aborted, { once: true })
    // Both listeners stay for the socket's life: an error between two owners would end the process.
    tcp.on('error', fail)
    tcp.once('connect', () => {
      // Before the first byte: whatever stands between (a hook, a proxy, a preloaded library) did not send us elsewhere.
      if (!isSameAddress(tcp.remoteAddress ?? '', address)) return fail(withCode('not the address', 'EADDRCHANGED'))
      tls = connectTls({
        socket: tcp,
        servername: host,
        ALPNProtocols: ['http/1.1'],
        secureContext,
        rejectUnauthorized: true // said, so that NODE_TLS_REJECT_UNAUTHORIZED cannot take it back
      })
      tls.on('error', fail)
      tls.once('close', () => fail(withCode('closed while the connection was made', 'ECONNRESET')))
      tls.once('secureConnect', () => {
        done()
        resolve(tls as TLSSocket)
      })
    })
  })
}

function withCode(message: string, code: string): Error {
  return Object.assign(new Error(message), { code })
}
