// A host that a skill may ask and that is its author's: it reflects what it gets, sends on to metadata services, packs
// bombs, and its zone answers as it likes.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { gzipSync } from 'node:zlib'

/** Nothing that comes out of an attack may hold this, in any encoding that the oracle knows. */
export const SECRET = 's3cret-of-the-host'

// For api, other and plain.example.com; of the fetch capability's own tests.
const fixture = (name: string) =>
  new URL(`../../../skills-registry/tools/test/fixtures/fetch-${name}.pem`, import.meta.url)

export interface HostileServer {
  port: number
  /** File of the certificate that it is trusted by. */
  ca: URL
  close(): void
}

export async function openHostileServer(): Promise<HostileServer> {
  const sockets = new Set<Socket>()
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const server = createServer(
    { key: readFileSync(fixture('key')), cert: readFileSync(fixture('cert')) },
    (request, response) => {
      const url = new URL(request.url ?? '/', 'https://api.example.com')
      const to = url.searchParams.get('to') ?? ''
      const sent = request.headers.authorization ?? ''
      switch (url.pathname) {
        case '/redirect':
          return response.writeHead(302, { location: to }).end()
        case '/loop':
          return response.writeHead(302, { location: '/loop' }).end()
        case '/bomb':
          return response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
        case '/endless':
          return response.writeHead(200).write('x') // and nothing more
        case '/echo':
          return response.setHeader('x-got', sent).end(JSON.stringify({ sent, headers: request.rawHeaders }))
        case '/echo-encoded': {
          const bytes = Buffer.from(sent)
          return response.end(
            JSON.stringify([
              bytes.toString('base64'),
              bytes.toString('base64url'),
              bytes.toString('hex'),
              encodeURIComponent(sent)
            ])
          )
        }
        case '/echo-status':
          return response.writeHead(200, sent.replace(/[^\x20-\x7e]/g, '')).end()
        case '/echo-redirect':
          return response.writeHead(302, { location: `https://api.example.com/?${encodeURIComponent(sent)}` }).end()
        default:
          return response.end('hello')
      }
    }
  )
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    ca: fixture('cert'),
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}

/** Whatever a zone can say. 127.0.0.1 is the one address that the operator of this server opened. */
export function hostileZone(): (host: string) => Promise<string[]> {
  const asked = new Map<string, number>()
  const zone: Record<string, string[]> = {
    'meta.example.com': ['169.254.169.254'],
    'private.example.com': ['10.0.0.5'],
    'mapped.example.com': ['::ffff:127.0.0.1'],
    'six.example.com': ['::1'],
    'nat64.example.com': ['64:ff9b::a9fe:a9fe'],
    'mixed.example.com': ['127.0.0.1', '169.254.169.254']
  }
  return async (host) => {
    const before = asked.get(host) ?? 0
    asked.set(host, before + 1)
    if (host === 'other.example.com') return before % 2 === 0 ? ['127.0.0.1'] : ['169.254.169.254'] // it rebinds
    return zone[host] ?? ['127.0.0.1']
  }
}
