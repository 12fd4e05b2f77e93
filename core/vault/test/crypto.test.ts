import { randomBytes } from 'node:crypto'
import t from 'tap'
import { associated, open, seal } from '#core/vault/crypto.ts'

const key = randomBytes(32)
const aad = associated('secret', 'tenant', 'NAME', '1')

t.test('what was sealed opens again, empty and long values too, and no two boxes are alike', async (t) => {
  for (const size of [0, 1, 15, 16, 65_536]) {
    const plain = randomBytes(size)
    t.ok(open(key, aad, seal(key, aad, plain)).equals(plain), `${size} bytes`)
  }
  t.notOk(seal(key, aad, Buffer.from('x')).equals(seal(key, aad, Buffer.from('x'))))
})

t.test('a box with any one bit flipped, cut or grown does not open', async (t) => {
  const box = seal(key, aad, Buffer.from('value'))
  const opened = []
  for (let bit = 0; bit < box.length * 8; bit++) {
    const flipped = Buffer.from(box)
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    try {
      opened.push(open(key, aad, flipped).toString())
    } catch {}
  }
  t.strictSame(opened, [])
  for (const size of [0, 1, 28, box.length - 1]) t.throws(() => open(key, aad, box.subarray(0, size)), `${size} bytes`)
  t.throws(() => open(key, aad, Buffer.concat([box, Buffer.of(0)])))
})

t.test('a box opens with its own key and associated data only', async (t) => {
  const box = seal(key, aad, Buffer.from('value'))
  t.throws(() => open(randomBytes(32), aad, box))
  for (const [use, ...parts] of [
    ['secret', 'other', 'NAME', '1'],
    ['secret', 'tenant', 'OTHER', '1'],
    ['secret', 'tenant', 'NAME', '2'],
    ['data-key', 'tenant', 'NAME', '1']
  ] as const)
    t.throws(() => open(key, associated(use, ...parts), box), parts.join())
})

t.test('no two lists of parts give the same associated data', async (t) => {
  const lists = [
    ['a', 'bc'],
    ['ab', 'c'],
    ['abc'],
    ['a', 'b', 'c'],
    ['', 'abc'],
    ['abc', ''],
    ['a|bc'],
    ['a', '|', 'bc']
  ]
  const all = lists.map((parts) => associated('secret', ...parts).toString('hex'))
  t.equal(new Set(all).size, lists.length)
})
