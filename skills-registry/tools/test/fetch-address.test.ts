import fc from 'fast-check'
import t from 'tap'
import { bytesOf, createAddressRule, isSameAddress } from '../capabilities/fetch/address.ts'

const rule = createAddressRule()

// First and last of each network of threats.md 1.5 and of the IANA registries, and some between.
const CLOSED = `
0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.1.2.3 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255
127.0.0.1 127.0.0.0 127.1.2.3 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255
172.16.0.0 172.20.1.1 172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255 192.31.196.1
192.52.193.1 192.88.99.0 192.88.99.255 192.168.0.0 192.168.1.1 192.168.255.255 192.175.48.1 198.18.0.0
198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0 224.0.0.251 239.255.255.255
240.0.0.0 250.1.2.3 255.255.255.254 255.255.255.255
:: ::1 0:0:0:0:0:0:0:1 0000:0000:0000:0000:0000:0000:0000:0001 ::0 ::2 ::7f00:1 ::127.0.0.1 ::8.8.8.8
::ffff:127.0.0.1 ::FFFF:7f00:1 0:0:0:0:0:ffff:7f00:0001 ::ffff:8.8.8.8 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 0064:ff9b:0:0:0:0:0808:0808
64:ff9b:1:: 64:ff9b:1::10.0.0.1 64:ff9b:1:ffff:ffff:ffff:ffff:ffff 100:: 100::1 100:0:0:1::1 1fff:ffff::1
2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:7f00:1::80ff:fffe 2001:2::1 2001:10::1 2001:20::1
2001:1ff:ffff::1 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002:: 2002:7f00:1:: 2002:a9fe:a9fe::1
2002:808:808::1 2620:4f:8000::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 8000::1 fc00:: fc00::1 fd00:ec2::254
fd00:ec2::23 fd12:3456:789a::1 fd20:ce::254 fdff:ffff::1 fe80::1 fe80::1%eth0 fe80::1%1 febf::1 fec0::1
ff00::1 ff02::1 ff05::2 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2606:4700::1111%eth0`

// What is no address in the one notation that DNS and sockets use: it is nothing that a check could have missed.
const NO_ADDRESS = [
  ...['', ' ', '1', '127', '127.1', '127.0.1', '2130706433', '0x7f000001', '0x7f.0.0.1', '0177.0.0.1', '017700000001'],
  ...['127.0.0.1.', '127.0.0.01', '127.0.0.1 ', '127.0.0.256', '1.2.3.4.5', '127.0.0.1/8', '127.0.0.1:80', 'localhost'],
  ...[
    '１２７.0.0.1',
    '127。0。0。1',
    '[::1]',
    ':::',
    '1::2::3',
    '::1/128',
    '12345::',
    '::g',
    '::1.2.3',
    '8.8.8.8\0',
    '+8.8.8.8'
  ]
]

const OPEN = `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255
128.0.0.1 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.1
192.88.100.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255
203.0.114.0 223.255.255.255 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 2A00:1450:4001:81B::200E
2620:4f:8001::1 3ffe::1`

const words = (text: string) => text.trim().split(/\s+/)

t.test('no address that is not public is open', async (t) => {
  for (const address of words(CLOSED)) t.equal(rule.isOpen(address), false, address)
})

t.test('what is no address is not open', async (t) => {
  for (const text of NO_ADDRESS) t.equal(rule.isOpen(text), false, JSON.stringify(text))
})

t.test('public addresses are open, also right beside a closed network', async (t) => {
  for (const address of words(OPEN)) t.equal(rule.isOpen(address), true, address)
})

t.test('what an operator opened is open, and the metadata services in it are not', async (t) => {
  const opened = createAddressRule({
    allow: ['10.1.0.0/16', '169.254.0.0/16', '127.0.0.1', 'fd00::/8', '64:ff9b::/96']
  })
  for (const address of words('10.1.0.1 10.1.255.255 169.254.1.1 127.0.0.1 fd00:1::1')) {
    t.equal(opened.isOpen(address), true, address)
  }
  const closed = '10.2.0.1 169.254.169.254 169.254.170.2 127.0.0.2 fd00:ec2::254 fd20:ce::254 ::ffff:127.0.0.1 ::1'
  for (const address of words(closed)) t.equal(opened.isOpen(address), false, address)
  t.equal(opened.isOpen('64:ff9b::8.8.8.8'), true, 'a gateway to a public address')
  t.equal(opened.isOpen('64:ff9b::192.168.0.1'), false, 'the same gateway to a private one')
  t.equal(opened.isOpen('64:ff9b::a9fe:a9fe'), false, 'and to the metadata service')
})

t.test('a gateway that an operator opened does not lead to what is closed', async (t) => {
  const opened = createAddressRule({ allow: ['::/0', '64:ff9b:1::/48', '2001::/32', '2002::/16'] })
  const closed =
    '64:ff9b:1:7f00:0:100:0:0 64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:c0a8:1::1 2001:0:808:808:0:0:80ff:fffe'
  for (const address of words(closed)) t.equal(opened.isOpen(address), false, address)
  t.equal(opened.isOpen('2002:808:808::1'), true)
  t.equal(opened.isOpen('::ffff:8.8.8.8'), false, 'a mapped address has no way of its own')
  t.equal(opened.isOpen('2001:0:808:808::f7f7:f7f7'), true, 'Teredo with public server and client')
})

t.test("the platform's own addresses are closed although they are public", async (t) => {
  const own = createAddressRule({ own: ['8.8.4.4', '2001:4860::/32'] })
  t.equal(own.isOpen('8.8.4.4'), false)
  t.equal(own.isOpen('2001:4860:4860::8888'), false)
  t.equal(own.isOpen('8.8.8.8'), true)
})

t.test('what is no CIDR in the options is refused when the server starts', async (t) => {
  for (const bad of [
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8.5',
    '10.0.0/8',
    'example.com',
    '',
    '::/129',
    '10.0.0.0/x'
  ]) {
    t.throws(() => createAddressRule({ allow: [bad] }), TypeError, bad)
  }
})

t.test('addresses are compared by their bytes', async (t) => {
  t.equal(isSameAddress('::1', '0:0:0:0:0:0:0:1'), true)
  t.equal(isSameAddress('2001:DB8::', '2001:db8:0::0'), true)
  t.equal(isSameAddress('::ffff:1.2.3.4', '1.2.3.4'), false)
  t.equal(isSameAddress('', ''), false)
  t.strictSame(bytesOf('::ffff:1.2.3.4'), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4])
  t.strictSame(bytesOf('64:ff9b::'), [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
})

const closedV4 = [
  ...[
    [0, 8],
    [10, 8],
    [127, 8],
    [100 * 2 ** 8 + 64, 10],
    [169 * 2 ** 8 + 254, 16],
    [172 * 2 ** 8 + 16, 12]
  ],
  ...[
    [192 * 2 ** 8 + 168, 16],
    [198 * 2 ** 8 + 18, 15],
    [224, 4],
    [240, 4]
  ]
] as [number, number][]

/** Any address of a closed IPv4 network, as a number of 32 bits. */
const anyClosedV4 = fc.constantFrom(...closedV4).chain(([start, bits]) => {
  const base = start < 256 ? start * 2 ** 24 : start * 2 ** 16
  return fc.nat(2 ** (32 - bits) - 1).map((rest) => base + rest)
})
const dotted = (v4: number) => [24, 16, 8, 0].map((shift) => Math.floor(v4 / 2 ** shift) % 256).join('.')
const groups = (v4: number) => [Math.floor(v4 / 65536), v4 % 65536]
const inverted = (v4: number) => 2 ** 32 - 1 - v4

/** One of the ways to write eight groups: with or without leading zeros, in either case, with or without `::`. */
const anyV6Text = (list: readonly number[]) =>
  fc.record({ pad: fc.boolean(), upper: fc.boolean(), short: fc.boolean(), tail: fc.boolean() }).map((how) => {
    const texts = list.map((group) => group.toString(16).padStart(how.pad ? 4 : 1, '0'))
    if (how.tail) texts.splice(6, 2, dotted((list[6] ?? 0) * 65536 + (list[7] ?? 0)))
    const text = texts.join(':')
    const short = how.short ? text.replace(/(^|:)0+(:0+)+(:|$)/, '::') : text
    return how.upper ? short.toUpperCase() : short
  })

t.test('any closed IPv4 address is closed in any form that leads to it', async () => {
  const forms = anyClosedV4.chain((v4) => {
    const [high = 0, low = 0] = groups(v4)
    const [notHigh = 0, notLow = 0] = groups(inverted(v4))
    return fc.oneof(
      fc.constant(dotted(v4)),
      anyV6Text([0, 0, 0, 0, 0, 0, high, low]),
      anyV6Text([0, 0, 0, 0, 0, 0xffff, high, low]),
      anyV6Text([0, 0, 0, 0, 0xffff, 0, high, low]),
      anyV6Text([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
      anyV6Text([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
      anyV6Text([0x2002, high, low, 0, 0, 0, 0, 1]),
      anyV6Text([0x2001, 0, 0x808, 0x808, 0, 0, notHigh, notLow]),
      anyV6Text([0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7])
    )
  })
  // Closed also where an operator opened all of IPv6: then only what is embedded speaks against it.
  const gateways = createAddressRule({ allow: ['64:ff9b::/96', '64:ff9b:1::/48', '2001::/32', '2002::/16'] })
  fc.assert(
    fc.property(forms, (address) => !rule.isOpen(address) && !gateways.isOpen(address)),
    { numRuns: 3000 }
  )
})

t.test('any IPv6 address outside 2000::/3 is closed in any form', async () => {
  const group = fc.nat(0xffff)
  const first = group.filter((value) => value >> 13 !== 1)
  const texts = fc.tuple(first, group, group, group, group, group, group, group).chain(anyV6Text)
  fc.assert(
    fc.property(texts, (address) => !rule.isOpen(address)),
    { numRuns: 1000 }
  )
})
