import t from 'tap'

const { digest } = await import(new URL('../dist/index.js', import.meta.url).href)

const sample = `# Changelog

Intro with a [link](https://example.com).

## [Unreleased]

### Added

- Something new

## [1.1.0] - 2026-03-01

### Fixed

- A **bold** fix of \`code\`
  that goes on in the next line
- Another

### Changed

- **Breaking:** the [API](https://example.com) moved

\`\`\`md
## [9.9.9] - not a version, a code block
- not an entry
\`\`\`

## [1.0.1] - 2026-02-01 [YANKED]

### Security

* A hole

## 1.0.0 (2026-01-01)

- No section
`

t.test('versions, sections and highlights of a changelog are found', async (t) => {
  const result = await digest({ markdown: sample, highlights: 2 })
  t.match(result, {
    title: 'Changelog',
    latest: '1.1.0',
    unreleased: 1,
    totals: { Added: 1, Fixed: 2, Changed: 1, Security: 1 }
  })
  t.strictSame(
    result.versions.map((v: { version: string; date: string | null; yanked: boolean }) => [
      v.version,
      v.date,
      v.yanked
    ]),
    [
      ['Unreleased', null, false],
      ['1.1.0', '2026-03-01', false],
      ['1.0.1', '2026-02-01', true],
      ['1.0.0', '2026-01-01', false]
    ]
  )
  t.strictSame(result.versions[1].highlights, [
    'Breaking: the API moved',
    'A bold fix of code that goes on in the next line'
  ])
  t.match(result.versions[1], { entries: 3, breaking: 1, sections: { Fixed: 2, Changed: 1 } })
  t.equal(
    result.summary,
    '1.1.0 of 2026-03-01: 2 fixed, 1 changed, 1 breaking; 4 versions in all, 1 entry waits for a release.'
  )
})

t.test('a text that is no changelog has no versions', async (t) => {
  t.match(await digest({ markdown: 'hello' }), { latest: null, versions: [], summary: 'No release yet.' })
})

t.test('section names cannot reach a prototype', async (t) => {
  const { totals } = await digest({ markdown: '# C\n## [1.0.0]\n### __proto__\n- a\n### constructor\n- b\n' })
  t.equal(Object.getPrototypeOf(totals), Object.prototype)
})
