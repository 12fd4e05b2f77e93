import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { FileObjectStore } from '#core/objects/index.ts'

const tenantA = '018f0000-0000-7000-8000-00000000000a'
const tenantB = '018f0000-0000-7000-8000-00000000000b'
const bytes = Buffer.from('hello objects')
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as const
const fileOf = (dir: string, scope: string) => join(dir, scope, digest.slice(7, 9), digest.slice(7))

function setUp(t: Test) {
  const dir = join(t.testdir(), 'objects')
  return { dir, store: new FileObjectStore({ dir }) }
}

async function* parts(...list: Uint8Array[]) {
  yield* list
}

const leftovers = async (dir: string) =>
  (await readdir(dir, { recursive: true }).catch(() => [])).filter((name) => name.includes('tmp-'))

t.test('what is put is found under its digest, whole or in pieces', async (t) => {
  const { store } = setUp(t)
  t.strictSame(await store.put(tenantA, bytes), { digest, size: 13 })
  t.strictSame(await store.put(tenantA, parts(bytes.subarray(0, 5), bytes.subarray(5))), { digest, size: 13 })
  t.strictSame(Buffer.from(await store.get(tenantA, digest)), bytes)
  t.strictSame(await buffer(await store.open(tenantA, digest)), bytes)
  t.equal(await store.has(tenantA, digest), true)
  const empty = await store.put(tenantA, new Uint8Array())
  t.equal((await store.get(tenantA, empty.digest)).byteLength, 0)
})

t.test('files are private to the server', async (t) => {
  const { dir, store } = setUp(t)
  await store.put('platform', bytes)
  t.equal((await stat(fileOf(dir, 'platform'))).mode & 0o777, 0o600)
  t.equal((await stat(join(dir, 'platform'))).mode & 0o777, 0o700)
})

t.test("one tenant's object is not there for another", async (t) => {
  const { store } = setUp(t)
  await store.put(tenantA, bytes)
  t.equal(await store.has(tenantB, digest), false)
  await t.rejects(store.get(tenantB, digest), { code: 'OBJECTS_NOT_FOUND', status: 404 })
  await t.rejects(store.open('platform', digest), { code: 'OBJECTS_NOT_FOUND' })
})

t.test('a scope or digest that is none never becomes a path', async (t) => {
  const { dir, store } = setUp(t)
  for (const scope of [
    '',
    '.',
    '..',
    '../x',
    `${tenantA}/..`,
    tenantA.toUpperCase(),
    'PLATFORM',
    `${tenantA}\0`,
    '/etc'
  ]) {
    await t.rejects(store.put(scope, bytes), { code: 'OBJECTS_ADDRESS_INVALID', status: 400 }, JSON.stringify(scope))
    await t.rejects(store.get(scope, digest), { code: 'OBJECTS_ADDRESS_INVALID' })
  }
  for (const bad of [
    '',
    digest.slice(7),
    'sha256:',
    `sha256:../../${'a'.repeat(58)}`,
    digest.toUpperCase(),
    `${digest}\n`
  ]) {
    for (const verb of ['get', 'open', 'has', 'remove'] as const) {
      await t.rejects(
        Promise.resolve(store[verb](tenantA, bad)),
        { code: 'OBJECTS_ADDRESS_INVALID' },
        JSON.stringify(bad)
      )
    }
  }
  t.strictSame(await readdir(dir).catch(() => []), [])
})

t.test('changed or cut bytes are refused, and mended by the next put', async (t) => {
  const { dir, store } = setUp(t)
  for (const damage of [(path: string) => writeFile(path, 'hello 0bjects'), (path: string) => truncate(path, 3)]) {
    await store.put(tenantA, bytes)
    await damage(fileOf(dir, tenantA))
    await t.rejects(store.get(tenantA, digest), { code: 'OBJECTS_CORRUPT', status: 500 })
    await t.rejects(buffer(await store.open(tenantA, digest)), { code: 'OBJECTS_CORRUPT' })
    await store.put(tenantA, bytes)
    t.strictSame(Buffer.from(await store.get(tenantA, digest)), bytes)
  }
})

t.test('a put that is too large or fails half way leaves nothing', async (t) => {
  const { dir, store } = setUp(t)
  await t.rejects(store.put(tenantA, bytes, { maxBytes: 12 }), { code: 'OBJECTS_TOO_LARGE', status: 413 })
  t.equal((await store.put(tenantA, bytes, { maxBytes: 13 })).size, 13, 'the limit itself is allowed')
  await t.rejects(store.put(tenantB, parts(bytes, bytes), { maxBytes: 20 }), { code: 'OBJECTS_TOO_LARGE' })
  async function* breaking() {
    yield bytes
    throw new Error('the sender went away')
  }
  await t.rejects(store.put(tenantB, breaking()), /went away/)
  t.equal(await store.has(tenantB, digest), false)
  t.strictSame(await leftovers(dir), [])
})

t.test('the same bytes put by twenty callers at once are one whole object', async (t) => {
  const { dir, store } = setUp(t)
  const large = randomBytes(300_000)
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      store.put(tenantA, i % 2 ? large : parts(large.subarray(0, 999), large.subarray(999)))
    )
  )
  t.equal(new Set(results.map((result) => result.digest)).size, 1)
  t.strictSame(Buffer.from(await store.get(tenantA, results[0]?.digest ?? '')), large)
  t.strictSame(await leftovers(dir), [])
})

t.test('removing says whether it was there', async (t) => {
  const { store } = setUp(t)
  await store.put(tenantA, bytes)
  t.equal(await store.remove(tenantA, digest), true)
  t.equal(await store.remove(tenantA, digest), false)
  t.equal(await store.has(tenantA, digest), false)
})

t.test('a reader that leaves early closes the file', async (t) => {
  const { store } = setUp(t)
  const { digest: large } = await store.put(tenantA, randomBytes(2_000_000))
  const openFiles = async () => (await readdir('/proc/self/fd').catch(() => [])).length
  const before = await openFiles()
  for (let i = 0; i < 5; i++) {
    const stream = await store.open(tenantA, large)
    for await (const chunk of stream) {
      t.ok(chunk.length > 0)
      break
    }
  }
  for (let i = 0; (await openFiles()) > before && i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
  t.ok((await openFiles()) <= before)
})

t.test('an error of the disk is not taken for an absent object', async (t) => {
  const { dir, store } = setUp(t)
  await mkdir(fileOf(dir, tenantA), { recursive: true })
  await t.rejects(store.get(tenantA, digest), { code: 'EISDIR' })
})

t.test("a tenant's objects are listed and cleared, nobody else's", async (t) => {
  const { store } = setUp(t)
  const list = (scope: string) => Array.fromAsync(store.list(scope))
  t.strictSame(await list(tenantA), [], 'a tenant without any')
  const other = await store.put(tenantA, Buffer.from('other'))
  for (const scope of [tenantA, tenantB, 'platform']) await store.put(scope, bytes)
  const [first, second] = await list(tenantA)
  t.strictSame(new Set([first?.digest, second?.digest]), new Set([digest, other.digest]))
  t.equal(await store.clear(tenantA), 2)
  t.equal(await store.clear(tenantA), 0, 'twice is once')
  t.strictSame(await list(tenantB), [{ digest, size: 13 }])
  await t.rejects(store.clear('platform'), { code: 'OBJECTS_ADDRESS_INVALID' })
  await t.rejects(store.clear('../platform'), { code: 'OBJECTS_ADDRESS_INVALID' })
  t.equal(await store.has('platform', digest), true)
})
