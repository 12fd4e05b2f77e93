import fc from 'fast-check'
import t from 'tap'
import { sha256 } from '#skills-registry/package/digest.ts'
import { readPackage } from '#skills-registry/package/read.ts'
import { REFUSALS, Refusal } from '#skills-registry/refusal.ts'
import { verifyBundle } from '#skills-registry/signing/verify.ts'
import { signedSkill } from './support/packages.ts'

const s = signedSkill({ extra: { 'assets/table.txt': 'one two three '.repeat(50) } })
const trust = { roots: [s.registry.spki], registrySignature: 'required' } as const

/** The code that it was refused with; fails the test when it was accepted or broke in another way. */
function refusal(archive: Uint8Array, bundle: string): string | undefined {
  try {
    verifyBundle(archive, bundle, trust)
    return undefined
  } catch (error) {
    if (!(error instanceof Refusal) || !Object.hasOwn(REFUSALS, error.code)) throw error
    return error.code
  }
}

function flip(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

t.test('one changed bit anywhere in the archive is refused', (t) => {
  t.equal(refusal(s.archive, s.bundle), undefined)
  const codes = new Map<string | undefined, number>()
  for (let bit = 0; bit < s.archive.length * 8; bit++) {
    const code = refusal(flip(s.archive, bit), s.bundle)
    codes.set(code, (codes.get(code) ?? 0) + 1)
  }
  t.strictSame([...codes], [['SKILLS_ARCHIVE_DIGEST', s.archive.length * 8]])
  t.end()
})

t.test('the reader alone gives a code for each changed bit, or the same files', (t) => {
  // Deflate has bits that mean nothing (padding, codes of symbols that are not used): only the signed digest sees those.
  const same = (files: Map<string, Uint8Array>) => JSON.stringify([...files.entries()].map(([p, c]) => [p, sha256(c)]))
  const expected = same(s.package.files)
  let unseen = 0
  for (let bit = 0; bit < s.archive.length * 8; bit++) {
    try {
      const { files } = readPackage(flip(s.archive, bit))
      if (same(files) !== expected) t.fail(`bit ${bit} changed a file and was accepted`)
      unseen++
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
    }
  }
  t.ok(unseen < 32, `${unseen} bits mean nothing`)
  t.end()
})

t.test('one changed bit anywhere in the bundle is refused', (t) => {
  const bundle = Buffer.from(s.bundle)
  const accepted: number[] = []
  const codes = new Set<string>()
  for (let bit = 0; bit < bundle.length * 8; bit++) {
    const code = refusal(s.archive, flip(bundle, bit).toString('utf8'))
    if (code === undefined) accepted.push(bit)
    else codes.add(code)
  }
  t.strictSame(accepted, [])
  t.ok(codes.size >= 8, [...codes].join(', '))
  t.end()
})

t.test('an archive that is cut, grown, or has its bytes moved is refused', (t) => {
  for (const length of [0, 1, 10, 18, s.archive.length - 8, s.archive.length - 1]) {
    t.equal(refusal(s.archive.subarray(0, length), s.bundle), 'SKILLS_ARCHIVE_DIGEST')
  }
  fc.assert(
    fc.property(fc.nat(s.archive.length - 1), fc.uint8Array({ minLength: 1, maxLength: 40 }), (at, insert) => {
      const grown = Buffer.concat([s.archive.subarray(0, at), insert, s.archive.subarray(at)])
      return refusal(grown, s.bundle) === 'SKILLS_ARCHIVE_DIGEST'
    }),
    { numRuns: 200 }
  )
  t.end()
})
