import t from 'tap'
import { newId } from '#core/ids.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { createFilesCapability } from '#skills-registry/tools/capabilities/files.ts'
import { FilesOptions } from '#skills-registry/tools/capabilities/files-options.ts'
import { type Ask, type Asker, asking } from './support/ask.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const other = await r.makeTenant()
const limits = FilesOptions.parse({})
const capability = createFilesCapability({ objects: r.objects, limits })
const limited = (less: Partial<FilesOptions>) =>
  createFilesCapability({ objects: r.objects, limits: { ...limits, ...less } })

/** In a session of its own, where none is named. */
const fresh = (who: Partial<Asker> = {}, of = capability) => asking(r, of, { tenantId: acme.tenantId, ...who })
const json = async (answer: Promise<string>) => JSON.parse(await answer)
const write = async (ask: Ask, path: string, content: string | Buffer, name = 'files.write') =>
  await json(
    ask(name, [path, typeof content === 'string' ? { text: content } : { base64: content.toString('base64') }])
  )
const read = async (ask: Ask, path: string, range: object = { as: 'text' }) =>
  await json(ask('files.read', [path, range]))
/** As ctx.files.read and readBytes do: a piece after the other. */
async function readAll(ask: Ask, path: string, as: 'text' | 'base64', length?: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let offset = 0; ; ) {
    const piece = await read(ask, path, { as, offset, length })
    const bytes = as === 'text' ? Buffer.from(piece.text) : Buffer.from(piece.base64, 'base64')
    t.equal(bytes.length, piece.bytes)
    pieces.push(bytes)
    offset += bytes.length
    if (!piece.more) return Buffer.concat(pieces)
    t.ok(bytes.length > 0, 'it comes further')
  }
}
const uses = async (sessionId: string) => {
  const [row] = await r.sql`
    select w.files, w.bytes::int, w.stored::int, count(f.path)::int as "realFiles", coalesce(sum(f.bytes), 0)::int as "realBytes"
    from tools.workspace w left join tools.file f using (tenant_id, session_id)
    where w.session_id = ${sessionId} and w.tenant_id = ${acme.tenantId} group by 1, 2, 3`
  return row
}

t.test('a grant gives its names', async (t) => {
  t.strictSame(capability.names({}), [])
  t.strictSame(capability.names({ files: 'read' }), ['files.read', 'files.list', 'files.stat'])
  t.strictSame(capability.names({ files: 'write' }).sort(), Object.keys(capability.methods).sort())
})

t.test('what is written is read, by every skill of the session and by no other session', async (t) => {
  const sessionId = newId()
  const ask = await fresh({ sessionId })
  t.strictSame(await write(ask, 'out/a.txt', 'héllo'), { path: 'out/a.txt', bytes: 6 })
  t.strictSame(await read(ask, 'out/a.txt'), { text: 'héllo', bytes: 6, more: false })
  t.strictSame(await read(ask, 'out/a.txt', { as: 'base64' }), { base64: 'aMOpbGxv', bytes: 6, more: false })
  t.match(await json(ask('files.stat', ['out/a.txt'])), { path: 'out/a.txt', bytes: 6, updatedAt: /Z$/ })
  t.equal(await ask('files.stat', ['out/b.txt']), 'null')
  t.equal((await write(ask, 'out/a.txt', Buffer.from([0, 255, 128]))).bytes, 3)
  t.equal((await write(ask, 'empty', '')).bytes, 0)
  t.strictSame(await read(ask, 'empty'), { text: '', bytes: 0, more: false })

  const mate = await fresh({ sessionId, skill: '@other/mate' })
  t.equal((await read(mate, 'out/a.txt', { as: 'base64' })).base64, 'AP+A')
  for (const stranger of [await fresh(), await fresh({ tenantId: other.tenantId, sessionId })]) {
    await t.rejects(read(stranger, 'out/a.txt'), { code: 'FILES_NOT_FOUND', message: /"out\/a.txt"/ })
    t.equal(await stranger('files.delete', ['out/a.txt']), 'false')
    t.strictSame(await json(stranger('files.list', [{}])), { files: [], next: null })
  }
  t.equal(await ask('files.delete', ['out/a.txt']), 'true')
  t.equal(await ask('files.delete', ['out/a.txt']), 'false')
  await t.rejects(read(ask, 'out/a.txt'), { code: 'FILES_NOT_FOUND' })
  t.match(await uses(sessionId), { files: 1, realFiles: 1, bytes: 0, realBytes: 0, stored: 9 })
})

t.test('bad arguments are refused where they stand', async (t) => {
  const ask = await fresh()
  await write(ask, 'a', 'x')
  const bad: [string, unknown[], RegExp][] = [
    ['files.read', ['../../etc/passwd'], /\/0: has the segment \.\./],
    ['files.read', ['/etc/passwd'], /\/0: begins with/],
    ['files.write', ['a/../b', { text: '' }], /\/0/],
    ['files.write', ['a', 'text'], /\/1/],
    ['files.write', ['a', {}], /\/1/],
    ['files.write', ['a', { text: 'x', base64: '' }], /\/1/],
    ['files.write', ['a', { base64: 'a' }], /\/1\/base64: is not base64/],
    ['files.write', ['a', { base64: 'YQ' }], /\/1\/base64: is not base64/],
    ['files.read', ['a', { as: 'json' }], /\/1\/as/],
    ['files.read', ['a', { offset: -1 }], /\/1\/offset/],
    ['files.read', ['a', { length: 0 }], /\/1\/length/],
    ['files.list', [{ prefix: 'a\0' }], /\/0\/prefix/],
    ['files.list', [{ session: 'x' }], /\/0\/session: unknown key/],
    ['files.stat', [{ path: 'a' }], /\/0/]
  ]
  for (const [name, args, message] of bad)
    await t.rejects(ask(name, args), { code: 'ARGUMENTS_INVALID', message }, JSON.stringify(args))
  await t.rejects(ask('files.write', '["a",{"text":"\\ud800"}]'), { message: /\/1\/text: contains a lone surrogate/ })
})

t.test('two paths that some system takes for one do not stand side by side', async (t) => {
  const ask = await fresh()
  await write(ask, 'dir/Readme.md', '1')
  const twins = [
    'dir/README.md',
    'DIR/readme.MD',
    'dir/Ｒeadme.md',
    'dir',
    'Dir',
    'dir/readme.md/x',
    'dir/Readme.md/y/z'
  ]
  for (const path of twins) {
    const message = /"dir\/Readme.md", which is there/
    for (const name of ['files.write', 'files.append'])
      await t.rejects(write(ask, path, '2', name), { code: 'ARGUMENTS_INVALID', message }, path)
  }
  await write(ask, 'DIR/other.md', '2')
  await write(ask, 'directory', '2')
  await write(ask, 'dir/Readme.md', '3')
  t.equal(await ask('files.delete', ['dir/Readme.md']), 'true')
  await write(ask, 'dir/README.md', '4')
  t.equal((await read(ask, 'dir/README.md')).text, '4')
})

t.test('a large file is read in pieces, at the bounds of its characters', async (t) => {
  const ask = await fresh()
  const line = 'añ€😀\u0001"\\\n'
  const chunk = Buffer.from(line.repeat(6000)) // 102 KB
  for (let n = 0; n < 9; n++) await write(ask, 'big', chunk, 'files.append')
  const whole = Buffer.concat(Array(9).fill(chunk))
  t.ok((await readAll(ask, 'big', 'base64')).equals(whole))
  t.ok((await readAll(ask, 'big', 'text')).equals(whole))
  for (const [from, length] of [
    [0, 1],
    [102_000, 5000],
    [700_000, 10],
    [whole.length - 3, 100],
    [whole.length, 5],
    [whole.length + 5, 5]
  ] as const) {
    const { base64, more } = await read(ask, 'big', { as: 'base64', offset: from, length })
    t.equal(base64, whole.subarray(from, from + length).toString('base64'), `${from}+${length}`)
    t.equal(more, from + length < whole.length)
  }
  const small = await fresh()
  await write(small, 's', '€😀é')
  t.equal(String(await readAll(small, 's', 'text', 1)), '€😀é', 'a piece has room for a character')
  await t.rejects(read(small, 's', { as: 'text', offset: 1 }), { code: 'FILES_NOT_TEXT', message: /from byte 1 on/ })
  await write(small, 'b', Buffer.from([0x61, 0xff, 0x62]))
  await t.rejects(read(small, 'b'), { code: 'FILES_NOT_TEXT', message: /"b" is not UTF-8: use files.readBytes/ })
  await write(small, 'bom', '\ufeffx')
  t.equal((await read(small, 'bom')).text, '\ufeffx')
})

t.test('appends at once are all there, each whole', async (t) => {
  const sessionId = newId()
  const askers = await Promise.all(Array.from({ length: 12 }, () => fresh({ sessionId })))
  await Promise.all(askers.map((ask, n) => write(ask, 'log', `line ${n} ${'.'.repeat(n * 900)}\n`, 'files.append')))
  const text = String(await readAll(askers[0] as Ask, 'log', 'text'))
  const lines = text.split('\n').filter((line) => line !== '')
  t.strictSame(
    lines.map((line) => Number(line.split(' ')[1])).sort((a, b) => a - b),
    Array.from({ length: 12 }, (_, n) => n)
  )
  for (const line of lines) t.match(line, /^line \d+ \.*$/)
  t.match(await uses(sessionId), { files: 1, realFiles: 1, bytes: text.length, realBytes: text.length })
})

t.test('the quota of a session is exact, also at once', async (t) => {
  const sessionId = newId()
  const few = limited({ files: 3, fileBytes: 100, totalBytes: 250 })
  const askers = await Promise.all(Array.from({ length: 8 }, () => fresh({ sessionId }, few)))
  const made = await Promise.allSettled(askers.map((ask, n) => write(ask, `f${n}`, 'x'.repeat(80))))
  const refused = made.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  t.equal(refused.length, 5)
  for (const error of refused) t.match(error, { code: 'FILES_QUOTA', message: /has 3 files, 3 are allowed/ })
  t.match(await uses(sessionId), { files: 3, realFiles: 3, bytes: 240, realBytes: 240 })

  const [ask] = askers as [Ask]
  const first = `f${made.findIndex(({ status }) => status === 'fulfilled')}`
  const quota = (message: RegExp) => ({ code: 'FILES_QUOTA', message })
  await t.rejects(write(ask, first, 'x'.repeat(101)), quota(/would have 101 bytes, 100 are allowed/))
  await t.rejects(write(ask, first, 'x'.repeat(21), 'files.append'), quota(/would have 101 bytes/))
  await t.rejects(write(ask, first, 'x'.repeat(91)), quota(/have 240 of 250 bytes, this write needs 11 more/))
  await write(ask, first, 'x'.repeat(90))
  await write(ask, first, 'less')
  await ask('files.delete', [first])
  await write(ask, 'another', 'x')
  t.match(await uses(sessionId), { files: 3, realFiles: 3, bytes: 161, realBytes: 161 })

  const writer = await fresh({}, limited({ storedBytes: 30 }))
  for (const text of ['0123456789', 'abcdefghij']) await write(writer, 'same', text)
  await writer('files.delete', ['same'])
  await t.rejects(write(writer, 'same', '01234567890'), quota(/has written 20 of 30 bytes in all/))
})

t.test('lists go by the bytes of the paths, a page after the other', async (t) => {
  const ask = await fresh()
  const paths = ['b', 'a/z', 'a/é', 'a.txt', 'Z', 'a/\u{ffe6}', 'a/\u{1f600}', 'a_']
  for (const path of paths) await write(ask, path, path)
  const all: string[] = []
  for (let after = ''; ; ) {
    const { files, next } = await json(ask('files.list', [{ after, limit: 3 }]))
    all.push(...files.map(({ path }: { path: string }) => path))
    if (next === null) break
    after = next
  }
  t.strictSame(
    all,
    [...paths].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  )
  const { files } = await json(ask('files.list', [{ prefix: 'a/' }]))
  t.strictSame(
    files.map(({ path }: { path: string }) => path),
    ['a/z', 'a/é', 'a/\u{ffe6}', 'a/\u{1f600}']
  )
})

t.test('writes and deletes are audited, without the content', async (t) => {
  const sessionId = newId()
  const ask = await fresh({ sessionId })
  await write(ask, 'a', 'the hidden content')
  await write(ask, 'a', '!', 'files.append')
  await read(ask, 'a')
  await ask('files.delete', ['a'])
  await ask('files.delete', ['a'])
  const rows =
    await r.sql`select action, details from audit.entry where subject = ${`session:${sessionId}`} order by id`
  const details = { skill: '@acme/one', path: 'a' }
  t.strictSame(
    rows.map((row) => ({ ...row })),
    [
      { action: 'tool.file_written', details: { ...details, bytes: 18 } },
      { action: 'tool.file_written', details: { ...details, bytes: 19 } },
      { action: 'tool.file_deleted', details }
    ]
  )
})

t.test('the tenant lists and downloads', async (t) => {
  const sessionId = newId()
  const ask = await fresh({ sessionId })
  const chunk = Buffer.alloc(90_000, 'ab')
  for (const name of ['files.write', 'files.append']) await write(ask, 'out/große Datei.html', chunk, name)
  await write(ask, 'b', '<script>alert(1)</script>')
  const url = `/v1/sessions/${sessionId}/files`
  const get = (path: string, headers: object = {}, method: 'GET' | 'HEAD' = 'GET') =>
    r.app.inject({ method, url: `${url}${path}`, headers: { ...acme.headers, ...headers } })

  const list = await get('?limit=1')
  t.match(list.json(), { data: [{ path: 'b', bytes: 25 }], used: { files: 2, bytes: 180_025, storedBytes: 180_025 } })
  const next = await get(`?limit=1&cursor=${list.json().nextCursor}`)
  t.match(next.json(), { data: [{ path: 'out/große Datei.html', bytes: 180_000 }], nextCursor: null })
  t.match((await get('?prefix=out/')).json().data, [{ path: 'out/große Datei.html' }])

  const whole = Buffer.concat([chunk, chunk])
  const path = `/content?path=${encodeURIComponent('out/große Datei.html')}`
  const file = await get(path)
  t.equal(file.statusCode, 200)
  t.ok(file.rawPayload.equals(whole))
  t.match(file.headers, {
    'content-type': 'application/octet-stream',
    'content-length': '180000',
    'content-disposition': `attachment; filename="gro_e Datei.html"; filename*=UTF-8''gro%C3%9Fe%20Datei.html`,
    'x-content-type-options': 'nosniff',
    'content-security-policy': /default-src 'none'/,
    'cache-control': 'private, no-cache',
    etag: /^"parts:[0-9a-f]{64}"$/
  })
  t.match((await get('/content?path=b')).headers.etag, /^"sha256:[0-9a-f]{64}"$/)
  const { etag } = file.headers as { etag: string }

  const range = await get(path, { range: 'bytes=89990-90009' })
  t.match(range, { statusCode: 206, headers: { 'content-range': 'bytes 89990-90009/180000', 'content-length': '20' } })
  t.ok(range.rawPayload.equals(whole.subarray(89_990, 90_010)))
  t.equal((await get(path, { range: 'bytes=0-1', 'if-range': '"old"' })).statusCode, 200)
  t.equal((await get(path, { range: 'bytes=0-1', 'if-range': etag })).statusCode, 206)
  const beyond = await get(path, { range: 'bytes=180000-' })
  t.match(beyond, { statusCode: 416, headers: { 'content-range': 'bytes */180000' } })
  t.match(beyond.json(), { code: 'TOOLS_RANGE_REFUSED' })
  t.match(await get(path, { 'if-none-match': `"x", ${etag}` }), { statusCode: 304, body: '' })
  t.match(await get(path, {}, 'HEAD'), { statusCode: 200, headers: { 'content-length': '180000' }, body: '' })

  for (const odd of ['none', 'out', 'B', 'out/grosse%20Datei.html'])
    t.match((await get(`/content?path=${odd}`)).json(), { status: 404, code: 'TOOLS_FILE_NOT_FOUND' }, odd)
  const wrong = { status: 400, code: 'REQUEST_INVALID', errors: [{ in: 'query', pointer: '/path' }] }
  for (const odd of ['', '../x', '%2e%2e%2fx', '/b', 'a%00', 'a%5cb', 'x'.repeat(600)])
    t.match((await get(`/content?path=${odd}`)).json(), wrong, odd)
  t.equal((await get('?cursor=x')).json().code, 'REQUEST_CURSOR_INVALID')
  const theirs = { authorization: other.headers.authorization }
  t.equal((await get(path, theirs)).json().code, 'TOOLS_FILE_NOT_FOUND')
  t.match((await get('', theirs)).json(), { data: [], used: { files: 0 } })
  const weak = await r.makeKey(acme.tenantId, ['sessions:read'])
  t.equal((await get('/content?path=b', { authorization: weak.authorization })).statusCode, 403)
})

t.test('content that the object store does not have is no answer to the skill', async (t) => {
  const sessionId = newId()
  const ask = await fresh({ sessionId })
  await write(ask, 'a', 'some content of its own')
  const [row] = await r.sql`select parts from tools.file where session_id = ${sessionId}`
  await r.objects.remove(acme.tenantId, row?.parts[0].digest)
  await t.rejects(read(ask, 'a'), { code: 'TOOL_JOURNAL_FAILED', retryable: true })
})

t.test('all sessions of a tenant share what its plan may put into the object store', async (t) => {
  const small = await r.makeTenant()
  const inAll = (bytes: Record<string, number>) => limited({ tenantStoredBytes: bytes })
  const session = (of: ReturnType<typeof inAll>) => fresh({ tenantId: small.tenantId }, of)
  const first = await session(inAll({ free: 1000 }))
  t.match(await write(first, 'a', 'x'.repeat(600)), { bytes: 600 })
  await first('files.delete', ['a'])
  const second = await session(inAll({ free: 1000 }))
  const full = { code: 'FILES_QUOTA', message: /have written 600 of 1000 bytes in all/ }
  await t.rejects(write(second, 'b', 'x'.repeat(600)), full)
  await t.rejects(write(second, 'b', 'x'.repeat(600), 'files.append'), full)
  t.match(await write(second, 'b', ''), { bytes: 0 }, 'nothing is put')
  await r.sql`update core.tenants set plan = 'pro' where tenant_id = ${small.tenantId}`
  const paid = await session(inAll({ free: 1000, pro: 2000 }))
  t.match(await write(paid, 'c', 'x'.repeat(1400)), { bytes: 1400 })
  await t.rejects(write(await session(inAll({ free: 1000, pro: 2000 })), 'd', 'x'), { message: /2000 of 2000/ })
  const neighbour = await fresh({ tenantId: (await r.makeTenant()).tenantId }, inAll({ free: 1000 }))
  t.match(await write(neighbour, 'e', 'x'), { bytes: 1 }, 'others have their own')
})
