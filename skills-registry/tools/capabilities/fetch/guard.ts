import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { CapabilityError } from '../../capability.ts'
import { fetchRule } from '../../permissions.ts'
import { type AddressRule, createAddressRule } from './address.ts'

/** One entry of a manifest's `permissions.fetch`. */
export type FetchRule = NonNullable<Permissions['fetch']>[number]

export interface Guard {
  /**
   * The rule that lets this method go to this URL: no DNS is asked before.
   * @throws CapabilityError CAPABILITY_DENIED
   */
  ruleFor(permissions: Permissions, method: string, url: URL): FetchRule
  /** @throws CapabilityError CAPABILITY_DENIED when one of them is not open: a name with a public and a private address is a trap */
  checkAddresses(addresses: readonly string[], method: string, url: URL): void
}

const MAX_URL = 8192
/** Names that mean something inside a machine, a network or a cluster, and the ends that public DNS has not. */
const RESERVED =
  /(^|\.)(localhost|localdomain|local|internal|intranet|lan|home|corp|private|svc|arpa|onion|alt|invalid)$/

/**
 * @param options.ownHosts the platform's own names, addresses and CIDRs
 * @param options.allowAddresses CIDRs that the operator opened
 * @throws TypeError for what is neither
 */
export function createGuard(options: {
  ownHosts?: readonly string[] | undefined
  allowAddresses?: readonly string[] | undefined
}): Guard {
  const isAddress = (entry: string) => isIP(entry.split('/')[0] ?? '') !== 0
  const own = options.ownHosts ?? []
  const ownNames = new Set(own.filter((entry) => !isAddress(entry)).map(nameOf))
  const addresses: AddressRule = createAddressRule({
    own: own.filter(isAddress),
    allow: options.allowAddresses ?? []
  })
  return {
    ruleFor(permissions, method, url) {
      checkUrl(url)
      const host = url.hostname
      const rule = fetchRule(permissions.fetch, host, method)
      if (rule && host.includes('.') && !ownNames.has(host) && !RESERVED.test(host)) return rule
      throw notAllowed(method, url)
    },
    checkAddresses(list, method, url) {
      if (!list.every((address) => addresses.isOpen(address))) throw notAllowed(method, url)
    }
  }
}

/** As a URL has it: a name in another spelling would be denied to nobody. @throws TypeError for what is none */
function nameOf(entry: string): string {
  const name = domainToASCII(entry.replace(/\.$/, ''))
  if (name === '') throw new TypeError(`"${entry}" is no host name`)
  return name
}

/**
 * The URL as a skill wrote it, normalised: what is checked here is what is connected to.
 * @throws CapabilityError ARGUMENTS_INVALID
 */
export function parseUrl(text: string): URL {
  // Parsers disagree on these: WHATWG drops tabs and newlines and takes \ for /.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (text.length > MAX_URL || /[\u0000-\u0020\u007f\\]/.test(text)) {
    throw invalid(`url is at most ${MAX_URL} characters without spaces, control characters and backslashes`)
  }
  if (text.includes('{{secret.')) {
    throw invalid('url holds a {{secret.NAME}}: a secret is sent in a header, never in an address that others log')
  }
  const url = URL.parse(text)
  if (!url) throw invalid('url is no absolute URL such as https://api.example.com/path')
  url.hash = ''
  return url
}

function checkUrl(url: URL): void {
  if (url.protocol !== 'https:') {
    throw denied(`only https: URLs are fetched, not ${url.protocol.slice(0, 20)} (a manifest has no way to ask for it)`)
  }
  if (url.username !== '' || url.password !== '') throw denied('a URL with user:password@ is not fetched')
  if (url.port !== '') throw denied(`only port 443 is fetched, not ${url.port}`)
  // The parser has turned every notation of an IPv4 address into the dotted one.
  if (url.hostname.startsWith('[') || isIP(url.hostname) !== 0)
    throw denied('an address is not fetched, only a host name')
  if (url.hostname.endsWith('.')) throw denied('a host name ends without a dot')
}

/** One text for undeclared, not granted, the platform's own and not public: it tells nobody which of them it is. */
function notAllowed(method: string, url: URL): CapabilityError {
  return denied(
    `${method} https://${url.hostname} is not allowed: permissions.fetch of the skill (and of the tools that called it) must name this host and method, the tenant must have granted it, and the host must be public`
  )
}

function denied(message: string): CapabilityError {
  return new CapabilityError('CAPABILITY_DENIED', message)
}

function invalid(message: string): CapabilityError {
  return new CapabilityError('ARGUMENTS_INVALID', `ctx.fetch: ${message}`)
}
