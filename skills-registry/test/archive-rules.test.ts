import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { gunzip, gzip } from '#skills-registry/package/gzip.ts'
import { readPackage } from '#skills-registry/package/read.ts'
import { readTar } from '#skills-registry/package/ustar.ts'
import type { RefusalCode } from '#skills-registry/refusal.ts'
import { bytes, skillFiles } from './support/packages.ts'
import { type RawEntry, rawTar } from './support/raw-tar.ts'

const good: RawEntry[] = [...skillFiles()]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([name, content]) => ({ name, content }))
const withLast = (entry: RawEntry) => [...good, entry]
const text = (name: string): RawEntry => ({ name, content: bytes('x') })

t.test('the raw writer of these tests makes what is accepted when it tells the truth', (t) => {
  t.equal(readPackage(gzip(rawTar(good))).manifest.name, '@acme/echo')
  t.end()
})

const tars: [string, Buffer, RefusalCode][] = [
  ['climbs with ..', rawTar(withLast(text('zz/../../etc/passwd'))), 'SKILLS_PACKAGE_PATH'],
  ['is absolute', rawTar([text('/abs.js'), ...good]), 'SKILLS_PACKAGE_PATH'],
  ['is absolute on Windows', rawTar(withLast(text('z:/x.js'))), 'SKILLS_PACKAGE_PATH'],
  ['has a backslash', rawTar(withLast(text('zz\\..\\x.js'))), 'SKILLS_PACKAGE_PATH'],
  ['starts with ./', rawTar([text('./a.js'), ...good]), 'SKILLS_PACKAGE_PATH'],
  ['hides behind a dot', rawTar([text('.env'), ...good]), 'SKILLS_PACKAGE_PATH'],
  ['has an empty segment', rawTar(withLast(text('zz//x.js'))), 'SKILLS_PACKAGE_PATH'],
  ['ends with a slash', rawTar(withLast(text('zz/'))), 'SKILLS_PACKAGE_PATH'],
  ['is empty', rawTar([text(''), ...good]), 'SKILLS_PACKAGE_PATH'],
  ['has a line break', rawTar(withLast(text('zz\nx.js'))), 'SKILLS_PACKAGE_PATH'],
  ['has a bidirectional mark', rawTar(withLast(text('zz\u202ejs.x'))), 'SKILLS_PACKAGE_PATH'],
  ['has a letter with an accent', rawTar(withLast(text('z\u00e9.js'))), 'SKILLS_PACKAGE_PATH'],
  ['is eight folders deep', rawTar(withLast(text('z/a/b/c/d/e/f/g.js'))), 'SKILLS_PACKAGE_PATH'],
  ['mixes case', rawTar(withLast(text('zOo.js'))), 'SKILLS_PACKAGE_PATH'],
  [
    'runs over its name field',
    rawTar(withLast({ ...text('z'.repeat(100)), fields: { 100: 'z' } })),
    'SKILLS_PACKAGE_TAR_FORMAT'
  ],
  ['is there twice', rawTar([...good.slice(0, 2), ...good.slice(1)]), 'SKILLS_PACKAGE_DUPLICATE_PATH'],
  ['is a twin in another case', rawTar(withLast(text('skill.md'))), 'SKILLS_PACKAGE_DUPLICATE_PATH'],
  ['is out of order', rawTar([...good].reverse()), 'SKILLS_PACKAGE_UNSORTED'],
  ['is a hard link', rawTar(withLast({ ...text('zz'), type: '1' })), 'SKILLS_PACKAGE_TAR_LINK'],
  [
    'is a symbolic link',
    rawTar(withLast({ name: 'zz', type: '2', fields: { 157: '/etc' } })),
    'SKILLS_PACKAGE_TAR_LINK'
  ],
  ['is a device', rawTar(withLast({ name: 'zz', type: '3' })), 'SKILLS_PACKAGE_TAR_TYPE'],
  ['is a folder', rawTar(withLast({ name: 'zz', type: '5' })), 'SKILLS_PACKAGE_TAR_TYPE'],
  ['is a fifo', rawTar(withLast({ name: 'zz', type: '6' })), 'SKILLS_PACKAGE_TAR_TYPE'],
  ['is of the type before ustar', rawTar(withLast({ name: 'zz', type: '\0' })), 'SKILLS_PACKAGE_TAR_TYPE'],
  ['is a pax header', rawTar(withLast({ ...text('zz'), type: 'x' })), 'SKILLS_PACKAGE_TAR_EXTENSION'],
  ['is a global pax header', rawTar([{ ...text('a'), type: 'g' }, ...good]), 'SKILLS_PACKAGE_TAR_EXTENSION'],
  ['is a GNU long name', rawTar(withLast({ ...text('zz'), type: 'L' })), 'SKILLS_PACKAGE_TAR_EXTENSION'],
  ['is a GNU sparse file', rawTar(withLast({ ...text('zz'), type: 'S' })), 'SKILLS_PACKAGE_TAR_EXTENSION'],
  ['can be executed', rawTar(withLast({ ...text('zz'), fields: { 100: '0000755\0' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['is setuid', rawTar(withLast({ ...text('zz'), fields: { 100: '0004644\0' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['has an owner', rawTar(withLast({ ...text('zz'), fields: { 108: '0001750\0' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['has a group', rawTar(withLast({ ...text('zz'), fields: { 116: '0001750\0' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['has a time', rawTar(withLast({ ...text('zz'), fields: { 136: '00000000001\0' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['names its owner', rawTar(withLast({ ...text('zz'), fields: { 265: 'root' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['has a prefix', rawTar(withLast({ ...text('zz'), fields: { 345: '../..' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  ['has a link name', rawTar(withLast({ ...text('zz'), fields: { 157: '/etc' } })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  [
    'has the magic of GNU',
    rawTar(withLast({ ...text('zz'), fields: { 257: 'ustar  \0' } })),
    'SKILLS_PACKAGE_TAR_FORMAT'
  ],
  [
    'hides a name behind a NUL',
    rawTar(withLast({ ...text('zz'), fields: { 3: '/../x' } })),
    'SKILLS_PACKAGE_TAR_FORMAT'
  ],
  [
    'has a size in base 256',
    rawTar(withLast({ ...text('zz'), size: '\x80\0\0\0\0\0\0\0\0\0\0\x01' })),
    'SKILLS_PACKAGE_TAR_FORMAT'
  ],
  ['has a negative size', rawTar(withLast({ ...text('zz'), size: '-0000000001\0' })), 'SKILLS_PACKAGE_TAR_FORMAT'],
  [
    'is larger than the tar',
    rawTar(withLast({ ...text('zz'), size: '00000777777\0' })),
    'SKILLS_PACKAGE_TAR_TRUNCATED'
  ],
  [
    'has a wrong checksum',
    rawTar(withLast({ ...text('zz'), fields: { 148: '000000\0 ' }, keepChecksum: true })),
    'SKILLS_PACKAGE_TAR_CHECKSUM'
  ],
  ['hides bytes behind its end', rawTar(withLast({ ...text('zz'), padWith: 65 })), 'SKILLS_PACKAGE_TAR_PADDING']
]

for (const [what, tar, code] of tars) {
  t.test(`an entry that ${what} is refused`, (t) => {
    t.throws(() => readPackage(gzip(tar)), { code, kind: 'bytes' })
    t.end()
  })
}

t.test('a tar ends with two empty blocks and with nothing else', (t) => {
  t.throws(() => readTar(rawTar(good, new Uint8Array(0))), { code: 'SKILLS_PACKAGE_TAR_TRUNCATED' })
  t.throws(() => readTar(rawTar(good, new Uint8Array(512))), { code: 'SKILLS_PACKAGE_TAR_TRUNCATED' })
  t.throws(() => readTar(rawTar(good, new Uint8Array(1536))), { code: 'SKILLS_PACKAGE_TAR_TRAILING' })
  t.throws(() => readTar(rawTar(good, new Uint8Array(1024).fill(1, 600))), { code: 'SKILLS_PACKAGE_TAR_TRAILING' })
  t.throws(() => readTar(rawTar(good).subarray(0, -100)), { code: 'SKILLS_PACKAGE_TAR_TRUNCATED' })
  t.end()
})

t.test('500 entries are the most', (t) => {
  const many = Array.from({ length: 498 }, (_, i) => text(`zz/${String(i).padStart(3, '0')}`))
  t.equal(readTar(rawTar([...good.slice(0, 2), ...many])).size, 500)
  t.throws(() => readTar(rawTar([...good, ...many])), { code: 'SKILLS_PACKAGE_TOO_MANY_ENTRIES' })
  t.end()
})

t.test('what is not one plain gzip member is refused', (t) => {
  const tar = rawTar(good)
  const archive = gzip(tar)
  const changed = (offset: number, value: number) => Buffer.from(archive).fill(value, offset, offset + 1)
  const refused: [Uint8Array, RefusalCode][] = [
    [new Uint8Array(), 'SKILLS_PACKAGE_NOT_GZIP'],
    [bytes('PK\u0003\u0004 a zip, maybe, of some length'), 'SKILLS_PACKAGE_NOT_GZIP'],
    [changed(2, 7), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [changed(3, 8), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [changed(4, 1), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [changed(8, 4), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [changed(9, 3), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [gzipSync(tar, { level: 1 }), 'SKILLS_PACKAGE_GZIP_HEADER'],
    [changed(10, 7), 'SKILLS_PACKAGE_CORRUPT'],
    [archive.subarray(0, archive.length - 4), 'SKILLS_PACKAGE_CORRUPT'],
    [archive.subarray(0, archive.length / 2), 'SKILLS_PACKAGE_CORRUPT'],
    [changed(archive.length - 8, (archive.at(-8) ?? 0) ^ 1), 'SKILLS_PACKAGE_CHECKSUM'],
    [changed(archive.length - 4, (archive.at(-4) ?? 0) ^ 1), 'SKILLS_PACKAGE_CHECKSUM'],
    [Buffer.concat([archive, bytes('x')]), 'SKILLS_PACKAGE_TRAILING_DATA'],
    [Buffer.concat([archive, new Uint8Array(1024)]), 'SKILLS_PACKAGE_TRAILING_DATA'],
    [Buffer.concat([archive, archive]), 'SKILLS_PACKAGE_SECOND_MEMBER'],
    [gzip(new Uint8Array(4 * 1024 * 1024)), 'SKILLS_PACKAGE_RATIO'],
    [new Uint8Array(5 * 1024 * 1024 + 1), 'SKILLS_PACKAGE_TOO_LARGE']
  ]
  for (const [archive, code] of refused) t.throws(() => readPackage(archive), { code })
  t.end()
})

t.test('20 MiB unpacked are the most, also where the ratio is honest', (t) => {
  const noise = randomBytes(300 * 1024)
  const large = Buffer.concat([noise, new Uint8Array(20 * 1024 * 1024)])
  t.throws(() => gunzip(gzip(large)), { code: 'SKILLS_PACKAGE_UNPACKED_TOO_LARGE' })
  t.end()
})
