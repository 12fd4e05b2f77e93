import { posix, win32 } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { planAppend, unfinished } from '#skills-registry/tools/capabilities/files-content.ts'
import { foldersOf, foldPath, wrongWithPath } from '#skills-registry/tools/capabilities/files-path.ts'
import { attachment, parseRange } from '#skills-registry/tools/routes/download.ts'

t.test('paths that a workspace takes', (t) => {
  const good = [
    'a',
    'report.md',
    'a/b/c.txt',
    '.hidden',
    '..a',
    'a..b/c',
    '%2e%2e/x',
    'with space/and more.txt',
    'ä/日本.csv',
    '👩‍👩‍👧.png',
    '❤️.txt',
    '-rf',
    '~/x',
    'console.log',
    'company/lpt.txt',
    'x'.repeat(255),
    `${'a/'.repeat(255)}ab`
  ]
  for (const path of good) t.equal(wrongWithPath(path), null, path.slice(0, 40))
  t.end()
})

t.test('paths that it refuses, and why', (t) => {
  const bad: [string, RegExp][] = [
    ['', /empty/],
    ['/etc/passwd', /begins with \//],
    ['//host/share', /begins with \//],
    ['..', /segment \.\./],
    ['a/../b', /segment \.\./],
    ['./a', /segment \.$/],
    ['a//b', /empty segment/],
    ['a/', /empty segment/],
    ['a\\b', /contains \\/],
    ['..\\x', /contains \\/],
    ['C:x', /contains :/],
    ['c:/x', /contains :/],
    ['a:stream', /contains :/],
    ['a*', /contains \*/],
    ['what?', /contains \?/],
    ['a|b', /contains \|/],
    ['a\0', /control/],
    ['a\nb', /control/],
    ['a\u0085', /control/],
    ['txt.\u202eexe', /turns the direction/],
    ['a\u2066b', /turns the direction/],
    ['a\ud800', /lone surrogate/],
    ['e\u0301', /NFC/],
    ['a.', /dot or a space/],
    ['a /b', /dot or a space/],
    ['dir./x', /dot or a space/],
    ['con', /device/],
    ['CON.txt', /device/],
    ['a/nul', /device/],
    ['Com1.log', /device/],
    ['lpt9 .txt', /device/],
    ['COM¹', /some systems/],
    ['．．/x', /some systems/],
    ['a／b', /some systems/],
    ['C：x', /some systems/],
    ['℀', /some systems/],
    ['x'.repeat(256), /255 bytes/],
    ['é'.repeat(128), /255 bytes/],
    [`${'a/'.repeat(256)}a`, /513 characters/],
    [Array(100).fill('\ufdfa').join('/'), /too long/],
    ['..\u200b', /read as "\.\." by some systems/],
    ['a/\u00ad/b', /some systems/],
    ['nu\ufeffl', /some systems/]
  ]
  for (const [path, why] of bad) t.match(wrongWithPath(path), why, encodeURI(path.slice(0, 40).toWellFormed()))
  t.end()
})

t.test('what is taken stays inside of any folder, on any system', (t) => {
  const part = fc.oneof(
    fc.constantFrom(
      '.',
      '..',
      '/',
      '\\',
      ':',
      '\0',
      ' ',
      'con',
      '／',
      '．',
      'C:',
      '%2e',
      '\u202e',
      'a',
      'é',
      'ﬁ',
      '\u200b'
    ),
    fc.string({ unit: 'binary', maxLength: 4 })
  )
  const paths = fc.array(part, { minLength: 1, maxLength: 8 }).map((parts) => parts.join(''))
  let taken = 0
  fc.assert(
    fc.property(paths, (path) => {
      if (wrongWithPath(path)) return
      taken++
      for (const form of [path, path.normalize('NFKC'), path.normalize('NFD')]) {
        if (!posix.resolve('/w', form).startsWith('/w/')) throw new Error(`posix: ${JSON.stringify(form)}`)
        if (!win32.resolve('C:\\w', form).startsWith('C:\\w\\')) throw new Error(`windows: ${JSON.stringify(form)}`)
        // node writes .\ before names like `cond`, one letter longer than a device
        if (win32.normalize(form).replace(/^\.\\/, '') !== form.replaceAll('/', '\\'))
          throw new Error(`changes: ${JSON.stringify(form)}`)
      }
    }),
    { numRuns: 5000 }
  )
  t.ok(taken > 500, `${taken} of 5000`)
  t.end()
})

t.test('paths that are one file somewhere fold to one', (t) => {
  const twins = [
    ['Readme.md', 'README.MD'],
    ['straße', 'STRASSE'],
    ['ﬁle', 'file'],
    ['Ａ', 'a'],
    ['K', 'k'], // Kelvin
    ['ſ', 's'],
    ['ı', 'I'],
    ['ΑΣ', 'ας'],
    ['a\u200db', 'ab'],
    ['a\u00adb', 'ab'],
    ['❤️', '❤']
  ]
  for (const [a = '', b = ''] of twins) t.equal(foldPath(a), foldPath(b), `${a} ${b}`)
  t.not(foldPath('a/b'), foldPath('a_b'))
  t.strictSame(foldersOf('A/B/C'), ['A', 'A/B'])
  t.strictSame(foldersOf('A'), [])
  t.end()
})

t.test('an append writes a short last part anew and leaves the others', (t) => {
  const part = (bytes: number) => ({ digest: `sha256:${bytes}`, bytes })
  t.strictSame(planAppend([], 10), { keep: [], rewrite: null })
  t.strictSame(planAppend([part(10)], 10), { keep: [], rewrite: part(10) })
  t.strictSame(planAppend([part(90_000), part(10)], 10), { keep: [part(90_000)], rewrite: part(10) })
  t.strictSame(planAppend([part(90_000)], 10), { keep: [part(90_000)], rewrite: null })
  t.strictSame(planAppend([part(10)], 65_527), { keep: [part(10)], rewrite: null })
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 60 }), (sizes) => {
      let parts: { digest: string; bytes: number }[] = []
      for (const size of sizes) {
        const { keep, rewrite } = planAppend(parts, size)
        parts = [...keep, part((rewrite?.bytes ?? 0) + size)]
      }
      const total = sizes.reduce((sum, size) => sum + size, 0)
      t.equal(
        parts.reduce((sum, { bytes }) => sum + bytes, 0),
        total
      )
      t.ok(parts.length <= 2 * Math.ceil(total / (64 * 1024)) + 1, `${parts.length} parts of ${total} bytes`)
    }),
    { numRuns: 50 }
  )
  t.end()
})

t.test('a cut through a character is seen', (t) => {
  const text = Buffer.from('aé€😀')
  for (let end = 0; end <= text.length; end++) {
    const cut = text.subarray(0, end)
    const whole = cut.subarray(0, end - unfinished(cut)).toString()
    t.ok('aé€😀'.startsWith(whole) && !whole.includes('\ufffd') && unfinished(cut) < 4, `${end}: ${whole}`)
  }
  t.equal(unfinished(Buffer.from([0x80, 0x80, 0x80, 0x80])), 0, 'what is no UTF-8 is left to the decoder')
  t.end()
})

t.test('ranges', (t) => {
  const table: [string | undefined, number, unknown][] = [
    [undefined, 10, null],
    ['bytes=0-4', 10, { start: 0, end: 5 }],
    ['bytes=5-', 10, { start: 5, end: 10 }],
    ['bytes=-3', 10, { start: 7, end: 10 }],
    ['bytes=-30', 10, { start: 0, end: 10 }],
    ['bytes=9-99', 10, { start: 9, end: 10 }],
    ['bytes=10-', 10, 'none'],
    ['bytes=-0', 10, 'none'],
    ['bytes=0-', 0, 'none'],
    ['bytes=-', 10, null],
    ['bytes=5-4', 10, null],
    ['bytes=0-1,3-4', 10, null],
    ['lines=0-1', 10, null],
    ['bytes=0x1-2', 10, null],
    [`bytes=0-${'9'.repeat(30)}`, 10, null]
  ]
  for (const [header, size, wanted] of table) t.strictSame(parseRange(header, size), wanted, String(header))
  t.end()
})

t.test('a file name in a header is ASCII, with the exact one beside it', (t) => {
  t.equal(attachment('a/report.csv'), `attachment; filename="report.csv"; filename*=UTF-8''report.csv`)
  t.equal(attachment('a;b,c é.txt'), `attachment; filename="a_b,c _.txt"; filename*=UTF-8''a%3Bb%2Cc%20%C3%A9.txt`)
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }), (path) => {
      if (!wrongWithPath(path))
        t.match(attachment(path), /^attachment; filename="[\w.,() +=@~-]+"; filename\*=UTF-8''[\w.!~%-]+$/)
    })
  )
  t.end()
})
