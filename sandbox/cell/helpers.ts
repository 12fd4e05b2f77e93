// What the guest asks its own cell for, because pure JavaScript would be large: strings in, one string out, no authority.
import { createHash } from 'node:crypto'

const MAX_URL = 65_536
const MAX_RANDOM_BYTES = 65_536
const SETTABLE = new Set(
  'href protocol username password host hostname port pathname search hash'.split(' ') as (keyof URL)[]
)

/** Answers `ask(what, ...texts)` of guest/. '' means: not valid. Never throws: a host error would show host paths. */
export function help(seed: string, what: unknown, texts: unknown[]): string {
  try {
    if (!texts.every((text) => typeof text === 'string' && text.length <= MAX_URL)) return ''
    const [first = '', second, third = ''] = texts as string[]
    if (what === 'url') return parts(new URL(first, second))
    if (what === 'url.set') return change(new URL(first), second as keyof URL, third)
    if (what === 'random') return random(seed, Number(first), Number(second))
    return ''
  } catch {
    return ''
  }
}

function parts(url: URL): string {
  const { href, origin, protocol, username, password, host, hostname, port, pathname, search, hash } = url
  return JSON.stringify([href, origin, protocol, username, password, host, hostname, port, pathname, search, hash])
}

// A setter of URL ignores what it cannot use, only href throws: as on the web.
function change(url: URL, name: keyof URL, value: string): string {
  if (SETTABLE.has(name)) Object.assign(url, { [name]: value })
  return parts(url)
}

/** `count` bytes as characters 0 to 255; the n-th draw of a call is always the same. */
function random(seed: string, n: number, count: number): string {
  if (!Number.isSafeInteger(n) || !(count >= 1) || count > MAX_RANDOM_BYTES) return ''
  return createHash('shake256', { outputLength: count }).update(`${n} ${seed}`).digest('latin1')
}
