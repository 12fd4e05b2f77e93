import { randomBytes } from 'node:crypto'
import t from 'tap'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { KekMissing } from '#core/vault/errors.ts'
import { LocalKeys, parseKeks, vaultKeys } from '#core/vault/keys.ts'

const base64 = () => randomBytes(32).toString('base64')
const derived = new Secret(randomBytes(32).toString('base64url'))

t.test('a list of keys is versions with base64 of 32 bytes, or 1:derived, each version once', async (t) => {
  const [one, two] = [base64(), base64()]
  t.strictSame(parseKeks(`2:${two},1:derived`), [
    { version: 2, key: two },
    { version: 1, key: null }
  ])
  t.strictSame(parseKeks(`1:${one}\n3:${two.replaceAll('+', '-').replaceAll('/', '_').replace('=', '')}\n`)?.length, 2)
  const short = randomBytes(31).toString('base64')
  for (const bad of [
    '',
    one,
    `0:${one}`,
    `1:${one},1:${two}`,
    `1:${short}`,
    '2:derived',
    `-1:${one}`,
    `1:${one};2:${two}`
  ])
    t.equal(parseKeks(bad), null, bad.replace(/:.*/, ''))
})

t.test('without a list the derived key is version 1; a list may go on from it', async (t) => {
  const tenant = newId()
  const dataKey = randomBytes(32)
  const first = vaultKeys(derived).wrapper
  t.equal(first.current, 1)
  const wrapped = await first.wrap(tenant, dataKey)
  const next = vaultKeys(derived, new Secret(`2:${base64()},1:derived`)).wrapper
  t.equal(next.current, 2)
  t.strictSame([...next.versions], [2, 1])
  t.ok((await next.unwrap(tenant, wrapped, 1)).equals(dataKey))
})

t.test('a wrapped key opens for its tenant, with its version and key only', async (t) => {
  const keys = new LocalKeys([
    [2, new Secret(base64())],
    [1, new Secret(base64())]
  ])
  const tenant = newId()
  const wrapped = await keys.wrap(tenant, randomBytes(32))
  await keys.unwrap(tenant, wrapped, 2)
  await t.rejects(keys.unwrap(newId(), wrapped, 2), 'another tenant')
  await t.rejects(keys.unwrap(tenant, wrapped, 1), 'another version')
  await t.rejects(keys.unwrap(tenant, wrapped, 3), { code: KekMissing.code, message: /version 3/ })
  // The same bytes of a key under another number: the version is part of what is authenticated.
  const same = new Secret(base64())
  const both = new LocalKeys([
    [1, same],
    [2, same]
  ])
  await t.rejects(both.unwrap(tenant, await both.wrap(tenant, randomBytes(32)), 2), 'the version alone')
})

t.test('keys show themselves to nobody', async (t) => {
  const key = base64()
  const { wrapper, fingerprintKey } = vaultKeys(derived, new Secret(`1:${key}`))
  const text = JSON.stringify({ wrapper, fingerprintKey, all: Object.values(must(wrapper, 'keys')) })
  t.notOk(text.includes(key) || text.includes(Buffer.from(key, 'base64').toString('hex')))
})
