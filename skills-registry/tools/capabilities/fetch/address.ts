// Which addresses a skill's request may go to. Sources: the IANA special-purpose registries (RFC 6890 and its updates),
// and the metadata services of clouds.
import { BlockList, isIP, isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'

export interface AddressRule {
  /** Whether a connection may go to this textual address, as DNS or a socket gives it. */
  isOpen(address: string): boolean
}

const BLOCKED = [
  '0.0.0.0/8', // this network; 0.0.0.0 reaches loopback on Linux
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier NAT, Tailscale, Alibaba's services
  '127.0.0.0/8',
  '169.254.0.0/16', // link local, most metadata services
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4', // with 255.255.255.255
  // All of IPv6 but 2000::/3: unspecified, loopback, mapped, NAT64, discard, SRv6, unique local, link local, multicast.
  '::/3',
  '4000::/2',
  '8000::/1',
  '2001::/23', // Teredo, ORCHID, benchmarks
  '2001:db8::/32',
  '2002::/16', // 6to4
  '2620:4f:8000::/48',
  '3fff::/20'
]

/** Machines' own credentials are there: closed even where an operator opens the network around them. */
const METADATA = [
  '169.254.169.254/32', // AWS, Azure, Google, Oracle and others
  '169.254.170.2/32', // AWS ECS
  '169.254.170.23/32', // AWS EKS
  '100.100.100.200/32', // Alibaba
  '168.63.129.16/32', // Azure's host
  '192.0.0.192/32', // Oracle
  'fd00:ec2::254/128',
  'fd00:ec2::23/128',
  'fd20:ce::254/128', // Google
  'fd00:c1::a9fe:a9fe/128' // Oracle
]

/**
 * @param options.allow CIDRs that the operator opened although they are not public; metadata services stay closed
 * @param options.own the platform's own public addresses beside those of this machine's interfaces
 * @throws TypeError for what is no CIDR
 */
export function createAddressRule(options: { allow?: readonly string[]; own?: readonly string[] } = {}): AddressRule {
  const isBlocked = listOf([...BLOCKED, ...(options.own ?? [])])
  const isMetadata = listOf(METADATA)
  const isAllowed = listOf(options.allow ?? [])

  const isOpen = (address: string): boolean => {
    const bytes = bytesOf(address)
    // A mapped address would be v4 by another name, with rules of its own in every system: no resolver needs to say it.
    if (bytes === null || isMapped(bytes)) return false
    if (isMetadata(address)) return false
    if (embeddedV4(bytes).some((inner) => !isOpen(inner))) return false
    if (isAllowed(address)) return true
    return !isBlocked(address) && !isOwnInterface(bytes)
  }
  return { isOpen }
}

/** Whether two textual addresses are the same one. */
export function isSameAddress(a: string, b: string): boolean {
  const [left, right] = [bytesOf(a), bytesOf(b)]
  return left !== null && right !== null && left.join() === right.join()
}

/** 4 or 16 bytes; null for whatever is no address, or one with a zone: that names an interface of ours. */
export function bytesOf(address: string): number[] | null {
  if (isIPv4(address)) return address.split('.').map(Number)
  if (isIP(address) !== 6 || address.includes('%')) return null
  const [head = '', tail] = address.split('::')
  const front = groupsOf(head)
  if (tail === undefined) return front
  const back = groupsOf(tail)
  return [...front, ...Array<number>(16 - front.length - back.length).fill(0), ...back]
}

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number)
    const value = Number.parseInt(group, 16)
    return [value >>> 8, value & 255]
  })
}

function startsWith(bytes: readonly number[], prefix: readonly number[]): boolean {
  return bytes.length === 16 && prefix.every((byte, i) => bytes[i] === byte)
}

const isMapped = (bytes: readonly number[]) => startsWith(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255])

/** The IPv4 addresses that a gateway would send this one on to: they are held to the same rule. */
function embeddedV4(bytes: readonly number[]): string[] {
  const at = (...places: number[]) => places.map((place) => bytes[place]).join('.')
  if (startsWith(bytes, [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0])) return [at(12, 13, 14, 15)] // NAT64
  if (startsWith(bytes, [0, 0x64, 0xff, 0x9b, 0, 1])) return [at(12, 13, 14, 15), at(6, 7, 9, 10)] // local NAT64 (RFC 6052)
  if (startsWith(bytes, [0x20, 0x02])) return [at(2, 3, 4, 5)] // 6to4
  if (!startsWith(bytes, [0x20, 0x01, 0, 0])) return []
  return [
    at(4, 5, 6, 7),
    bytes
      .slice(12)
      .map((byte) => byte ^ 255)
      .join('.')
  ] // Teredo: its server and, inverted, its client
}

// Asked anew each time: an address may come to an interface while the process runs.
function isOwnInterface(bytes: readonly number[]): boolean {
  const text = bytes.join()
  return Object.values(networkInterfaces()).some((list) =>
    list?.some(({ address }) => bytesOf(address.replace(/%.*$/, ''))?.join() === text)
  )
}

// A list of each family: a BlockList takes an IPv4 address for the mapped IPv6 one, and ::/3 would hold them all.
function listOf(cidrs: readonly string[]): (address: string) => boolean {
  const v4 = new BlockList()
  const v6 = new BlockList()
  for (const cidr of cidrs) {
    const [net = '', prefix] = cidr.split('/')
    const family = isIP(net)
    const most = family === 4 ? 32 : 128
    const bits = prefix === undefined ? most : Number(prefix)
    const isBits = Number.isInteger(bits) && bits >= 0 && bits <= most && prefix?.trim() !== ''
    if (family === 0 || !isBits) throw new TypeError(`"${cidr}" is no address or CIDR`)
    if (family === 4) v4.addSubnet(net, bits, 'ipv4')
    else v6.addSubnet(net, bits, 'ipv6')
  }
  return (address) => (isIPv4(address) ? v4.check(address, 'ipv4') : v6.check(address, 'ipv6'))
}
