import { Resolver } from 'node:dns/promises'

/** All addresses of a host name, at least one; rejects where it has none. */
export type Resolve = (host: string, signal: AbortSignal) => Promise<string[]>

/**
 * Asks the machine's DNS servers. Not getaddrinfo: that holds a thread of the process's pool for as long as a server of
 * the asker's choice keeps silent, adds search domains, and knows the names of /etc/hosts.
 * @param options.servers `address:port` instead of the machine's
 */
export function createResolve(
  options: { servers?: readonly string[]; timeoutMs?: number; tries?: number } = {}
): Resolve {
  return async (host, signal) => {
    signal.throwIfAborted()
    const resolver = new Resolver({ timeout: options.timeoutMs ?? 2000, tries: options.tries ?? 2 })
    if (options.servers) resolver.setServers(options.servers)
    const cancel = () => resolver.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
      const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
      const failed = answers.find((answer) => answer.status === 'rejected')
      if (addresses.length === 0) throw failed?.reason ?? new Error('no address')
      return addresses
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }
}
