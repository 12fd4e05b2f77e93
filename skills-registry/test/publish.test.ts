import t from 'tap'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { verifyBundle } from '#skills-registry/signing/verify.ts'
import { type Draft, signedSkill, skillFiles } from './support/packages.ts'
import { registryApp, uploadForm } from './support/registry-app.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const other = await r.makeTenant()
const author = createKey().key

/** As an author sends it: with one signature. */
const draft = (options: Draft = {}, key = author) => {
  const signed = signedSkill(options, { author: key })
  return { archive: signed.archive, bundle: signed.authorBundle, digest: signed.package.digest }
}
const rows = async (table: string) => (await r.sql.unsafe(`select * from registry.${table}`)).length

t.test('a published skill can be fetched by anyone and verified with the registry gone', async (t) => {
  const mine = draft({ name: '@acme/first' })
  const made = await r.publish(acme, mine)
  t.equal(made.status, 201)
  t.match(made.body, { name: '@acme/first', version: '1.0.0', digest: mine.digest, state: 'published' })
  t.type(made.body.logIndex, 'number')
  t.equal(made.headers.location, '/v1/registry/skills/acme/first/1.0.0')

  const page = await r.get(other, String(made.headers.location))
  t.match(page.body, {
    name: '@acme/first',
    digest: mine.digest,
    authorKeyId: author.keyId,
    manifest: { entry: 'dist/index.js' }
  })
  const skill = await r.get(other, '/v1/registry/skills/acme/first')
  t.match(skill.body, { name: '@acme/first', latest: '1.0.0', versions: [{ version: '1.0.0', state: 'published' }] })

  const archive = await r.get(other, `${made.headers.location}/package`)
  t.ok(archive.raw.equals(Buffer.from(mine.archive)))
  t.equal(archive.headers['content-type'], 'application/gzip')
  const bundle = await r.get(other, `${made.headers.location}/bundle`)
  t.equal(bundle.body.roots.length, 1)
  const trust = { roots: [bundle.body.roots[0].publicKey], registrySignature: 'required' } as const
  t.equal(verifyBundle(archive.raw, bundle.raw.toString(), trust).authorKeyId, author.keyId)
})

t.test('the same bytes again answer 200 with what is there, other bytes 409', async (t) => {
  const mine = draft({ name: '@acme/twice' })
  const first = await r.publish(acme, mine)
  const before = await rows('log')
  const again = await r.publish(acme, mine)
  t.equal(again.status, 200)
  t.strictSame(again.body, first.body)
  const changed = await r.publish(acme, draft({ name: '@acme/twice', code: 'export const echo = () => 2\n' }))
  t.match(changed, { status: 409, body: { code: 'SKILLS_VERSION_TAKEN' } })
  t.equal(await rows('log'), before)
})

t.test('what is refused leaves no bytes, what is published leaves its own once', async (t) => {
  const has = ({ digest }: { digest: string }) => r.objects.has('platform', digest)
  const mine = draft({ name: '@kept/bytes' })
  t.equal((await r.publish(acme, mine)).status, 201)
  t.equal(await has(mine), true)
  const refused = [
    { who: acme, what: draft({ name: '@kept/bytes', code: 'export const echo = () => 3\n' }), status: 409 },
    { who: acme, what: draft({ name: '@kept/more' }, createKey().key), status: 403 },
    { who: other, what: draft({ name: '@kept/stolen' }), status: 403 },
    { who: other, what: draft({ name: '@agentos/stolen' }), status: 403 },
    { who: acme, what: draft({ name: '@kept/needy', manifest: { dependencies: { '@a/b': '^1' } } }), status: 422 }
  ]
  for (const { who, what, status } of refused) {
    t.equal((await r.publish(who, what)).status, status)
    t.equal(await has(what), false)
  }
})

t.test('a scope belongs to its first publisher and speaks with its first key', async (t) => {
  t.equal((await r.publish(acme, draft({ name: '@mine/one' }))).status, 201)
  const before = [await rows('skill'), await rows('version'), await rows('log')]
  const foreign = await r.publish(other, draft({ name: '@mine/two' }, createKey().key))
  t.match(foreign, { status: 403, body: { code: 'SKILLS_SCOPE_TAKEN' } })
  const same = await r.publish(other, draft({ name: '@mine/one' }))
  t.match(same, { status: 403, body: { code: 'SKILLS_SCOPE_TAKEN' } })
  const newKey = await r.publish(acme, draft({ name: '@mine/two' }, createKey().key))
  t.match(newKey, { status: 403, body: { code: 'SKILLS_AUTHOR_KEY_UNKNOWN' } })
  t.strictSame([await rows('skill'), await rows('version'), await rows('log')], before)
})

t.test('the reserved scope is for the operator alone, whose skills are verified', async (t) => {
  const mine = draft({ name: '@agentos/core-skill' })
  t.match(await r.publish(acme, mine), { status: 403, body: { code: 'SKILLS_SCOPE_RESERVED' } })
  const zero = await r.makeTenant({ id: TENANT_ZERO, slug: 'zero' })
  t.equal((await r.publish(zero, mine)).status, 201)
  t.strictSame(await r.sql`select verified from registry.scope where scope = 'agentos'`.then((x) => [...x]), [
    { verified: true }
  ])
})

t.test('what was tampered with is refused with its reason and leaves nothing behind', async (t) => {
  const mine = draft({ name: '@tampered/skill' })
  const flipped = Buffer.from(mine.archive)
  flipped[40] = (flipped[40] ?? 0) ^ 1
  const unsigned = JSON.stringify({
    ...JSON.parse(mine.bundle),
    publish: { ...JSON.parse(mine.bundle).publish, signatures: [] }
  })
  const cases: [{ archive: Uint8Array; bundle: string }, number, string][] = [
    [{ archive: flipped, bundle: mine.bundle }, 422, 'SKILLS_ARCHIVE_DIGEST'],
    [{ archive: mine.archive, bundle: '{' }, 422, 'SKILLS_BUNDLE_INVALID'],
    [{ archive: mine.archive, bundle: unsigned }, 422, 'SKILLS_AUTHOR_SIGNATURE_MISSING'],
    [
      { archive: mine.archive, bundle: signedSkill({ name: '@tampered/skill' }, { author }).bundle },
      422,
      'SKILLS_SIGNER_UNTRUSTED'
    ],
    [{ archive: new Uint8Array(5 * 1024 * 1024 + 1), bundle: mine.bundle }, 413, 'SKILLS_PACKAGE_TOO_LARGE'],
    [
      draft({ name: '@tampered/skill', manifest: { dependencies: { '@a/b': '^1' } } }),
      422,
      'SKILLS_DEPENDENCIES_UNAVAILABLE'
    ]
  ]
  for (const [upload, status, code] of cases) t.match(await r.publish(acme, upload), { status, body: { code } }, code)
  t.strictSame([...(await r.sql`select 1 from registry.scope where scope = 'tampered'`)], [])
  t.equal((await r.get(acme, '/v1/registry/skills/tampered/skill')).status, 404)
})

t.test('an upload of the wrong form is told what is wrong', async (t) => {
  const { archive, bundle } = draft({ name: '@acme/form' })
  const send = async (parts: [string, Uint8Array | string][], headers: object = {}) => {
    const form = uploadForm(parts)
    const answer = await r.app.inject({
      method: 'POST',
      url: '/v1/registry/skills',
      payload: form.payload,
      headers: { ...acme.headers, ...form.headers, ...headers }
    })
    return { status: answer.statusCode, code: answer.json().code }
  }
  const invalid = { status: 400, code: 'SKILLS_UPLOAD_INVALID' }
  t.strictSame(await send([['package', archive]]), invalid)
  t.strictSame(await send([['bundle', bundle]]), invalid)
  t.strictSame(
    await send([
      ['package', archive],
      ['script', 'x']
    ]),
    invalid
  )
  t.strictSame(
    await send([
      ['package', archive],
      ['package', archive]
    ]),
    invalid
  )
  t.strictSame(
    await send([
      ['package', archive],
      ['bundle', bundle],
      ['bundle', bundle]
    ]),
    invalid
  )
  t.strictSame(await send([], { 'content-type': 'text/plain' }), {
    status: 415,
    code: 'REQUEST_MEDIA_TYPE_UNSUPPORTED'
  })
  t.strictSame(await send([], { 'content-type': 'application/json' }), { status: 400, code: 'REQUEST_BODY_MALFORMED' })
  t.strictSame(
    await send([
      ['package', 'x'],
      ['bundle', 'y'.repeat(3 * 1024 * 1024)]
    ]),
    { status: 422, code: 'SKILLS_BUNDLE_INVALID' }
  )
})

t.test('one key of idempotency is one publication', async (t) => {
  const mine = draft({ name: '@acme/idem' })
  const headers = { 'idempotency-key': 'publish-1' }
  const [a, b] = [await r.publish(acme, mine, headers), await r.publish(acme, mine, headers)]
  t.equal(a.status, 201)
  t.equal(b.status, 201)
  t.equal(b.headers['idempotency-replayed'], 'true')
  t.strictSame(a.body, b.body)
  const changed = await r.publish(acme, draft({ name: '@acme/idem', version: '1.0.1' }), headers)
  t.match(changed, { status: 422, body: { code: 'IDEMPOTENCY_KEY_REUSED' } })
})

t.test('twenty publications at once have twenty indexes without a gap, and each is told once', async (t) => {
  const [{ count }] = [...(await r.sql<{ count: number }[]>`select count(*)::int from registry.log`)] as [
    { count: number }
  ]
  const skills = Array.from({ length: 20 }, (_, i) => draft({ name: `@acme/many-${i}` }))
  const answers = await Promise.all(skills.map((skill) => r.publish(acme, skill)))
  t.strictSame(new Set(answers.map(({ status }) => status)), new Set([201]))
  const indexes = answers.map(({ body }) => body.logIndex).sort((a, b) => a - b)
  t.strictSame(
    indexes,
    Array.from({ length: 20 }, (_, i) => count + i)
  )
  const events =
    await r.sql`select data from core.event where type = 'skill.published' and data ->> 'name' like '@acme/many-%'`
  t.equal(events.length, 20)
})

t.test('the same version published ten times at once is there once', async (t) => {
  const mine = draft({ name: '@acme/race' })
  const answers = await Promise.all(Array.from({ length: 10 }, () => r.publish(acme, mine)))
  t.strictSame(answers.map(({ status }) => status).sort(), [...Array(9).fill(200), 201])
  t.equal(new Set(answers.map(({ body }) => body.logIndex)).size, 1)
})

t.test('search finds words in any order in names and descriptions, page by page', async (t) => {
  await r.publish(acme, draft({ name: '@acme/zebra-reader' }))
  t.match((await r.get(other, '/v1/registry/skills?q=gives+ZEBRA')).body, {
    data: [{ name: '@acme/zebra-reader' }],
    nextCursor: null
  })
  t.strictSame((await r.get(other, '/v1/registry/skills?q=no-such-skill')).body.data, [])
  t.strictSame((await r.get(other, '/v1/registry/skills?q=%25')).body.data, [])
  const seen = new Set<string>()
  let cursor = ''
  do {
    const { body } = await r.get(other, `/v1/registry/skills?q=many&limit=7${cursor && `&cursor=${cursor}`}`)
    for (const { name } of body.data) seen.add(name)
    cursor = body.nextCursor ?? ''
  } while (cursor)
  t.equal(seen.size, 20)
})

t.test('the newest version that is no pre-release is the latest', async (t) => {
  for (const version of ['1.2.0', '1.10.0', '2.0.0-beta.1', '1.9.0'])
    await r.publish(acme, draft({ name: '@acme/latest', version }))
  const { body } = await r.get(other, '/v1/registry/skills/acme/latest')
  t.equal(body.latest, '1.10.0')
  t.equal(body.versions.length, 4)
})

t.test('paths and words that can be no skill are not found, and never reach the database', async (t) => {
  for (const path of ['-/echo', 'a%2Fb/c', 'acme/first/latest']) {
    t.match(
      await r.get(other, `/v1/registry/skills/${path}`),
      { status: 404, body: { code: 'SKILLS_NOT_FOUND' } },
      path
    )
  }
  for (const path of ['/acme/%00', '/%00/x', '/acme/first/%00', '/acme/first/1.0.0%00/package', '?q=%00']) {
    const answer = await r.get(other, `/v1/registry/skills${path}`)
    t.match(answer, { status: 400, body: { code: 'REQUEST_INVALID' } }, path)
  }
  t.equal((await r.get(other, '/v1/registry/skills?cursor=nonsense')).status, 400)
  t.equal((await r.get(other, '/v1/registry/skills?limit=201')).status, 400)
})

t.test('each route needs its permission', async (t) => {
  const reader = { ...acme, headers: await r.makeKey(acme.tenantId, ['registry:read']) }
  t.equal((await r.publish(reader, draft())).status, 403)
  t.equal((await r.get(reader, '/v1/skills')).status, 403)
  t.equal((await r.get(reader, '/v1/registry/skills')).status, 200)
  t.equal((await r.post(reader, '/v1/skills', { ref: '@acme/first' })).status, 403)
})

t.test('the bundle on record verifies, whatever the author wrote around it', async (t) => {
  t.ok(skillFiles().size > 0)
  const rows = await r.sql`select v.bundle, v.digest from registry.version v`
  for (const { bundle, digest } of rows) {
    const parsed = JSON.parse(bundle)
    const archive = await r.objects.get('platform', digest)
    t.ok(verifyBundle(archive, bundle, { roots: [parsed.roots[0].publicKey], registrySignature: 'required' }))
  }
})
