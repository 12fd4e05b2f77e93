import t from 'tap'
import { verifyFile } from '#core/audit/file.ts'
import { chainOf, fileOf, keyOf, linesOf, tampered } from './support.ts'

const [key, other] = [keyOf(1), keyOf(2)]

t.test('an export as the server makes it holds', async (t) => {
  for (const size of [0, 1, 2, 5]) {
    const report = await verifyFile(linesOf(fileOf(chainOf(size, key), key)), key.id)
    t.match(report, { ok: true, keyId: key.id, sealedThrough: size, entries: size, faults: [] }, `${size} rows`)
  }
  t.equal((await verifyFile(linesOf(fileOf(chainOf(3, key), key)), key.publicKey)).ok, true, 'the key itself will do')
})

for (const [name, lines, says] of tampered(key, other)) {
  t.test(`${name} is found`, async (t) => {
    const { ok, faults } = await verifyFile(linesOf(lines), key.id)
    t.equal(ok, false)
    t.ok(
      faults.some(({ what }) => says.test(what)),
      JSON.stringify(faults)
    )
  })
}

t.test("without a trusted key the file's own is taken, and named", async (t) => {
  const report = await verifyFile(linesOf(fileOf(chainOf(3, other), other)))
  t.match(report, { ok: true, keyId: other.id })
})
