import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createGzip,
  createZstdCompress,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync
} from 'node:zlib'
import t from 'tap'
import { until } from '#test/support/until.ts'
import { FETCH_LIMITS } from '../capabilities/fetch/journey.ts'
import { answer, fetchWorld } from './support/fetch-world.ts'

const w = await fetchWorld(t)
const api = 'https://api.example.com'
const code = async (...args: Parameters<typeof w.refused>) => (await w.refused(...args)).code
const raw = (text: string) => (request: { socket: Socket }) => request.socket.write(text)

t.test('packed answers are unpacked, and their length is not told', async (t) => {
  const text = 'packed '.repeat(1000)
  const packed = {
    gzip: gzipSync(text),
    'x-gzip': gzipSync(text),
    br: brotliCompressSync(text),
    zstd: zstdCompressSync(text)
  }
  for (const [coding, bytes] of [
    ...Object.entries(packed),
    ['deflate', deflateSync(text)],
    ['Deflate', deflateRawSync(text)],
    ['identity', text]
  ] as const) {
    w.on('/packed', answer({ 'content-encoding': coding }, bytes))
    const got = await w.fetch({ url: `${api}/packed` })
    t.strictSame(got.body, { text }, coding)
    t.equal(got.entry.details?.bytesIn, bytes.length)
    if (coding !== 'identity')
      t.notOk(
        got.headers.some(([name]) => /^content-(length|encoding)$/.test(name)),
        coding
      )
  }
  w.on('/packed', answer({ 'content-encoding': 'gzip' }))
  t.strictSame((await w.fetch({ url: `${api}/packed` })).body, { text: '' }, 'nothing, packed')
  t.strictSame((await w.fetch({ url: `${api}/packed`, method: 'HEAD' })).body, { text: '' })
})

t.test('a body that is not what its encoding says is refused with that reason', async (t) => {
  const cases: [string, Uint8Array | string, RegExp][] = [
    ['gzip', 'not packed', /no complete gzip/],
    ['gzip', gzipSync('cut off, this is').subarray(0, 20), /no complete gzip/],
    ['br', Buffer.alloc(100, 0xff), /no complete br/],
    ['zstd', 'not packed', /no complete zstd/],
    ['deflate', '\u0008nothing', /no complete deflate/],
    ['gzip, gzip', gzipSync(gzipSync('twice')), /content-encoding is none of gzip, deflate, br, zstd/],
    ['compress', 'x', /content-encoding is none of/]
  ]
  for (const [coding, bytes, message] of cases) {
    w.on('/broken', answer({ 'content-encoding': coding }, bytes))
    t.match(await w.refused({ url: `${api}/broken` }), { code: 'FETCH_FAILED', message }, coding)
  }
})

t.test('a bomb costs what the limit costs', async (t) => {
  const zeros = function* () {
    for (;;) yield Buffer.alloc(1024 * 1024)
  }
  for (const [coding, pack] of [
    ['gzip', createGzip],
    ['br', () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })],
    ['zstd', createZstdCompress]
  ] as const) {
    let closed = false
    w.on('/bomb', (_request, response) => {
      const packer = pack()
      response.writeHead(200, { 'content-encoding': coding }).on('close', () => {
        closed = true
        packer.destroy()
      })
      packer.on('error', () => {})
      Readable.from(zeros())
        .on('error', () => {})
        .pipe(packer)
        .pipe(response)
    })
    const { code, message } = await w.refused({ url: `${api}/bomb` })
    t.equal(code, 'FETCH_TOO_LARGE', coding)
    t.match(message, /larger than 716800 bytes/)
    await until(() => closed, 'the connection of a bomb is cut')
  }
  const rows = await w.db.tenant(
    w.acme.tenantId,
    (tx) => tx<{ bytes: number }[]>`
      select (details->>'bytesIn')::int as bytes from audit.entry where details->>'path' = '/bomb'`
  )
  t.equal(rows.length, 3)
  for (const { bytes } of rows) t.ok(bytes < 128 * 1024, `${bytes} bytes were read`)
})

t.test('a packed answer does not choose how much memory unpacking takes', async (t) => {
  // A zstd frame of one byte: magic, no content size, window of 2^(10 + exponent), last raw block.
  const frame = (exponent: number) =>
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 9, 0, 0, 'a'.charCodeAt(0)])
  w.on('/8mib', answer({ 'content-encoding': 'zstd' }, frame(13)))
  t.strictSame((await w.fetch({ url: `${api}/8mib` })).body, { text: 'a' })
  w.on('/128mib', answer({ 'content-encoding': 'zstd' }, frame(17)))
  t.equal(await code({ url: `${api}/128mib` }), 'FETCH_FAILED')
})

t.test('a body without an end, or one that says it is too long, is cut at the limit', async (t) => {
  w.on('/exact', answer({}, Buffer.alloc(FETCH_LIMITS.bodyBytes, 'a')))
  t.equal((await w.fetch({ url: `${api}/exact` })).status, 200)
  w.on('/more', answer({}, Buffer.alloc(FETCH_LIMITS.bodyBytes + 1, 'a')))
  t.equal(await code({ url: `${api}/more` }), 'FETCH_TOO_LARGE')
  w.on('/endless', (_request, response) => {
    const push = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65536, 'a')));
    }
    response.on('drain', push)
    push()
  })
  t.equal(await code({ url: `${api}/endless` }), 'FETCH_TOO_LARGE')
  // Packed bytes that unpack to nothing, for ever: stored blocks of length 0.
  w.on('/empty', (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'deflate' })
    const block = Buffer.concat(Array(4000).fill(Buffer.from([0, 0, 0, 0xff, 0xff])))
    response.write(Buffer.from([0x78, 0x9c]))
    const push = () => {
      while (!response.destroyed && response.write(block));
    }
    response.on('drain', push)
    push()
  })
  t.equal(await code({ url: `${api}/empty` }), 'FETCH_TOO_LARGE')
})

t.test('too long and too many headers are refused', async (t) => {
  w.on('/long', answer({ 'x-long': 'a'.repeat(20_000) }))
  t.match(await w.refused({ url: `${api}/long` }), { code: 'FETCH_TOO_LARGE', message: /too long headers/ })
  w.on('/many', answer(Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`x-${i}`, '']))))
  t.match(await w.refused({ url: `${api}/many` }), { code: 'FETCH_TOO_LARGE', message: /more than 100 headers/ })
})

t.test('what is no HTTP is refused, and its text is not quoted', async (t) => {
  const answers = [
    'nonsense secret\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n',
    'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    'HTTP/1.1 99999 OK\r\n\r\n'
  ]
  for (const text of answers) {
    w.on('/raw', raw(text))
    const { code, message } = await w.refused({ url: `${api}/raw` })
    t.equal(code, 'FETCH_FAILED', JSON.stringify(text))
    t.notMatch(message, /secret|127\.0\.0\.1/)
  }
  w.on('/hints', (request) => {
    const push = () => {
      while (
        !request.socket.destroyed &&
        request.socket.write('HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'.repeat(100))
      );
    }
    request.socket.on('drain', push)
    push()
  })
  t.equal(await code({ url: `${api}/hints` }), 'FETCH_FAILED')
  w.on('/cut', (request) => void request.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello'))
  t.equal(await code({ url: `${api}/cut` }), 'FETCH_FAILED')
  w.on('/gone', (request) => void request.socket.destroy())
  t.equal(await code({ url: `${api}/gone` }), 'FETCH_FAILED')
  t.equal(w.sockets.length, answers.length + 3, 'nothing was sent twice')
})
