import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Exit, Stop } from './stop.ts'

export interface Connection {
  /** Without a slash at the end. */
  url: string
  token: string
  /** Where the token came from, for messages. */
  source: string
  /** Id or slug, for a user of several tenants. */
  tenant?: string
}

type Source = Record<string, string | undefined>

/**
 * Where the server is and with which key to ask: AGENTOS_URL and AGENTOS_TOKEN, else this machine and the owner's key that
 * a server keeps in AGENTOS_HOME. That key is a whole server's: it is sent to this machine only.
 * @throws Stop (2) for a URL that is none, (3) where there is no key
 */
export function connectionOf(env: Source, tenant?: string): Connection {
  const url = parseUrl(env.AGENTOS_URL || 'http://127.0.0.1:3000')
  const base = url.href.replace(/\/+$/, '')
  const given = env.AGENTOS_TOKEN?.trim()
  const own = { url: base, ...(tenant === undefined ? {} : { tenant }) }
  if (given) return { ...own, token: given, source: 'AGENTOS_TOKEN' }
  const file = join(env.AGENTOS_HOME || '.agentos', 'owner.key')
  if (!isLoopback(url.hostname)) {
    throw new Stop(Exit.auth, `no key for ${base}: set AGENTOS_TOKEN to an API key of that server`)
  }
  return { ...own, token: readKey(file), source: file }
}

/** Whether the key goes to this address so that anybody on the way can read it. */
export function isOpenRoad({ url }: Connection): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !isLoopback(hostname)
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '' && url.hash === '') return url
  throw new Stop(Exit.usage, 'AGENTOS_URL is not the address of a server: set it like http://127.0.0.1:3000')
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}

function readKey(file: string): string {
  try {
    const key = readFileSync(file, 'utf8').trim()
    if (key !== '') return key
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'ENOENT')
      throw new Stop(Exit.auth, `${file} cannot be read (${code}): set AGENTOS_TOKEN to an API key`)
  }
  throw new Stop(
    Exit.auth,
    `no key: set AGENTOS_TOKEN to an API key, or AGENTOS_HOME to the folder where the server keeps owner.key (looked for ${file})`
  )
}
