import t from 'tap'
import { canonicalJson } from '#skills-registry/package/digest.ts'
import { parseManifest } from '#skills-registry/package/manifest.ts'
import { pack } from '#skills-registry/package/pack.ts'
import { readPackage } from '#skills-registry/package/read.ts'
import { parseSkillMd } from '#skills-registry/package/skill-md.ts'
import { bytes, skillFiles } from './support/packages.ts'

const tool = { description: 'd', input: {}, output: {}, effect: 'none' }
const base = { name: '@acme/echo', version: '1.0.0', entry: 'dist/index.js', tools: { echo: tool } }
const withTool = (more: object) => ({ tools: { echo: { ...tool, ...more } } })

t.test('the minimum is enough, and what it leaves out is filled in', (t) => {
  const manifest = parseManifest(JSON.stringify(base))
  t.strictSame(manifest.limits, { cpuMs: 5000, wallMs: 10000, memoryMb: 64, hostCalls: 100 })
  t.strictSame(manifest.permissions, {})
  t.strictSame(manifest.dependencies, {})
  t.equal(parseManifest(JSON.stringify({ ...base, limits: { cpuMs: 7 } })).limits.wallMs, 10000)
  t.end()
})

const wrong: [string, object, string][] = [
  ['a key that nobody knows', { scripts: {} }, ''],
  ['a name without a scope', { name: 'echo' }, '/name'],
  ['a name in capitals', { name: '@Acme/echo' }, '/name'],
  ['a name with two hyphens in a row', { name: '@acme/e--cho' }, '/name'],
  ['a name that climbs', { name: '@acme/../x' }, '/name'],
  ['a version that is a range', { version: '^1.0.0' }, '/version'],
  ['a version with a v', { version: 'v1.0.0' }, '/version'],
  ['an entry outside dist', { entry: 'src/index.js' }, '/entry'],
  ['an entry that climbs', { entry: 'dist/../x.js/' }, '/entry'],
  ['no tool', { tools: {} }, '/tools'],
  ['a tool named like a promise', { tools: Object.fromEntries([['then', tool]]) }, '/tools/then'],
  ['a tool with a dot in its name', { tools: { 'a.b': tool } }, '/tools/a.b'],
  ['an effect that is none of the three', withTool({ effect: 'maybe' }), '/tools/echo/effect'],
  ['an undo by a tool that is not there', withTool({ effect: 'undo:gone' }), '/tools/echo/effect'],
  ['a tool that undoes itself', withTool({ effect: 'undo:echo' }), '/tools/echo/effect'],
  [
    'a wildcard host',
    { permissions: { fetch: [{ host: '*.example.com', methods: ['GET'] }] } },
    '/permissions/fetch/0/host'
  ],
  [
    'an address as host',
    { permissions: { fetch: [{ host: '127.0.0.1', methods: ['GET'] }] } },
    '/permissions/fetch/0/host'
  ],
  [
    'a host without a dot',
    { permissions: { fetch: [{ host: 'localhost', methods: ['GET'] }] } },
    '/permissions/fetch/0/host'
  ],
  [
    'a host with a port',
    { permissions: { fetch: [{ host: 'a.example.com:80', methods: ['GET'] }] } },
    '/permissions/fetch/0/host'
  ],
  [
    'a fetch without methods',
    { permissions: { fetch: [{ host: 'a.example.com', methods: [] }] } },
    '/permissions/fetch/0/methods'
  ],
  [
    'a secret that is not declared',
    { permissions: { fetch: [{ host: 'a.example.com', methods: ['GET'], secret: 'KEY' }] } },
    '/permissions/fetch/0/secret'
  ],
  ['a permission that nobody knows', { permissions: { shell: true } }, '/permissions'],
  ['more memory than there may be', { limits: { memoryMb: 100_000 } }, '/limits/memoryMb'],
  ['a limit of half a millisecond', { limits: { cpuMs: 0.5 } }, '/limits/cpuMs'],
  ['a dependency on no range', { dependencies: { '@a/b': 'newest please' } }, '/dependencies/@a~1b']
]

for (const [what, change, pointer] of wrong) {
  t.test(`a manifest with ${what} is refused, and told where`, (t) => {
    const error = t.throws(() => parseManifest(JSON.stringify({ ...base, ...change })), {
      code: 'SKILLS_MANIFEST_INVALID'
    })
    t.has(error, { details: { errors: [{ pointer }] } })
    t.end()
  })
}

t.test('skill.json that reaches for prototypes, or is no JSON, is refused', (t) => {
  for (const text of [
    '{',
    '[]',
    '"x"',
    '{"__proto__": {}}',
    '{"tools": {"__proto__": {}}}',
    '{"constructor": {"prototype": {}}}'
  ]) {
    t.throws(() => parseManifest(text), { code: 'SKILLS_MANIFEST_INVALID' })
  }
  t.end()
})

const nested = (depth: number): object => (depth === 0 ? {} : { properties: { a: nested(depth - 1) } })
const doubling = Object.fromEntries(
  Array.from({ length: 20 }, (_, i) => [
    `d${i}`,
    { allOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }
  ])
)
const schemas: [string, object][] = [
  ['refers to the network', { $ref: 'https://example.com/schema.json' }],
  ['refers to a file', { properties: { a: { $ref: 'other.json' } } }],
  ['refers to itself', { properties: { a: { $ref: '#' } } }],
  ['refers in a circle', { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } }],
  ['refers to nothing that can be decoded', { $ref: '#/$defs/%', $defs: {} }],
  ['refers to nothing', { $ref: '#/$defs/a' }],
  ['doubles twenty times', { $ref: '#/$defs/d0', $defs: { ...doubling, d20: {} } }],
  ['names itself by $id', { $id: 'https://example.com/a' }],
  ['is of another dialect', { $schema: 'http://json-schema.org/draft-07/schema#' }],
  ['uses a keyword that nobody knows', { properties: { a: { maximun: 3 } } }],
  ['has a pattern that is no expression', { pattern: '(' }],
  ['has a pattern that looks back', { pattern: '(a)\\1' }],
  ['has a type that nobody knows', { type: 'text' }],
  ['compares all pairs of a long list', { type: 'array', uniqueItems: true }],
  ['is deep', nested(40)],
  ['is long', { enum: ['x'.repeat(70_000)] }],
  ['compares with thousands of values', { enum: Array.from({ length: 6000 }, (_, i) => i) }]
]
for (const [what, schema] of schemas) {
  t.test(`a tool's schema that ${what} is refused, and told where`, (t) => {
    const error = t.throws(() => parseManifest(JSON.stringify({ ...base, ...withTool({ output: schema }) })), {
      code: 'SKILLS_MANIFEST_SCHEMA'
    })
    t.match(error, { details: { errors: [{ pointer: /^\/tools\/echo\/output/ }] } })
    t.end()
  })
}

t.test('what a database could not keep, or a recursion not survive, is refused before either', (t) => {
  const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
  const texts = [
    JSON.stringify({ ...base, description: 'a\0b' }),
    JSON.stringify({ ...base, description: '\ud800' }),
    JSON.stringify({ ...base, ...withTool({ input: { const: '\0' } }) }),
    JSON.stringify({ ...base, ...withTool({ input: { default: 'DEEP' } }) }).replace('"DEEP"', deep)
  ]
  for (const text of texts) t.throws(() => parseManifest(text), { code: 'SKILLS_MANIFEST_INVALID' })
  const md = '---\nname: echo\ndescription: "a\\0b"\n---\n'
  t.throws(() => parseSkillMd(md, 'echo'), { code: 'SKILLS_SKILL_MD_INVALID', message: /U\+0000/ })
  t.end()
})

t.test('SKILL.md is the open format and nothing more', (t) => {
  const { frontmatter, body } = parseSkillMd(
    '---\r\nname: echo\r\ndescription: >\r\n  Two\r\n  lines\r\nmetadata:\r\n  a: b\r\n---\r\n# Hi\r\n',
    'echo'
  )
  t.equal(frontmatter.description, 'Two lines')
  t.equal(body, '# Hi\r\n')
  const refused: [string, RegExp][] = [
    ['# no frontmatter', /between two lines/],
    ['---\nname: echo\n# never closed', /between two lines/],
    ['---\nname: echo\n---\n', /description/],
    ['---\nname: echo\ndescription: ""\n---\n', /description/],
    ['---\nname: other\ndescription: d\n---\n', /skill.json says echo/],
    ['---\nname: Echo\ndescription: d\n---\n', /name/],
    ['---\nname: e--cho\ndescription: d\n---\n', /name/],
    [`---\nname: echo\ndescription: ${'d'.repeat(1025)}\n---\n`, /description/],
    ['---\nname: echo\ndescription: d\nversion: 1\n---\n', /version/i],
    ['---\nname: echo\ndescription: d\nmetadata: {a: 1}\n---\n', /metadata/],
    ['---\nname: echo\nname: echo\ndescription: d\n---\n', /unique/],
    ['---\nname: echo\ndescription: bad: yaml\n---\n', /SKILL.md/],
    ['---\nname: &a echo\ndescription: *a\n---\n', /aliases/],
    ['---\njust text\n---\n', /SKILL.md/]
  ]
  for (const [text, message] of refused) {
    t.throws(() => parseSkillMd(text, 'echo'), { code: 'SKILLS_SKILL_MD_INVALID', message })
  }
  t.end()
})

t.test('a package without its parts, or with text that is no text, is refused', (t) => {
  const without = (path: string) => new Map([...skillFiles()].filter(([name]) => name !== path))
  for (const path of ['skill.json', 'SKILL.md', 'dist/index.js']) {
    t.throws(() => pack(without(path)), { code: 'SKILLS_PACKAGE_FILE_MISSING' })
  }
  const withBytes = (path: string, content: Uint8Array) => new Map([...skillFiles(), [path, content]])
  for (const path of ['skill.json', 'SKILL.md', 'dist/index.js']) {
    t.throws(() => pack(withBytes(path, Uint8Array.of(0xff, 0xfe))), { code: 'SKILLS_PACKAGE_TEXT' })
    t.throws(() => pack(withBytes(path, bytes('\ufeff{}'))), { code: 'SKILLS_PACKAGE_TEXT' })
  }
  const binary = pack(withBytes('assets/logo.png', Uint8Array.of(0xff, 0, 0xfe)))
  t.equal(readPackage(binary.archive).files.size, 4)
  t.end()
})

t.test('canonical JSON depends on the meaning alone', (t) => {
  t.equal(canonicalJson({ b: [1, 'x', null, true], a: { d: 1, c: undefined } }), '{"a":{"d":1},"b":[1,"x",null,true]}')
  for (const value of [0.5, Number.NaN, undefined, 1n]) t.throws(() => canonicalJson(value), TypeError)
  t.end()
})
