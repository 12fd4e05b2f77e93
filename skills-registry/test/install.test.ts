import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { pack } from '#skills-registry/package/pack.ts'
import { signPackage } from '#skills-registry/signing/bundle.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill, skillFiles } from './support/packages.ts'
import { registryApp } from './support/registry-app.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const other = await r.makeTenant()
const author = createKey().key

async function published(options: Draft) {
  const signed = signedSkill(options, { author })
  const { status } = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (status !== 201) throw new Error(`not published: ${status}`)
  return signed
}
const installs = async (tenantId: string) => await r.sql`select id from registry.install where tenant_id = ${tenantId}`

t.test('a range installs its highest version, once', async (t) => {
  for (const version of ['1.0.0', '1.2.0', '1.10.0', '2.0.0-rc.1', '2.0.0'])
    await published({ name: '@acme/ranged', version })
  const first = await r.post(other, '/v1/skills', { ref: '@acme/ranged@^1' })
  t.match(first, { status: 201, body: { name: '@acme/ranged', version: '1.10.0', range: '^1', grant: {} } })
  t.match(first.body.digest, /^sha256:[0-9a-f]{64}$/)
  t.equal(first.headers.location, `/v1/skills/${first.body.id}`)
  const again = await r.post(other, '/v1/skills', { ref: '@acme/ranged@~1.10.0' })
  t.equal(again.status, 200)
  t.strictSame(again.body, first.body)
  t.equal((await r.post(other, '/v1/skills', { ref: '@acme/ranged' })).body.version, '2.0.0')
  t.equal((await r.post(other, '/v1/skills', { ref: '@acme/ranged@2.0.0-rc.1' })).body.version, '2.0.0-rc.1')
  const events = await r.sql`
    select data, subject from core.event where type = 'skill.installed' and tenant_id = ${other.tenantId} order by id`
  t.equal(events.length, 3)
  t.match(events[0], { data: { skillId: first.body.id, version: '1.10.0' }, subject: `skill:${first.body.id}` })
})

t.test('what is not there, or is no reference, is said', async (t) => {
  t.match(await r.post(other, '/v1/skills', { ref: '@acme/nothing' }), {
    status: 404,
    body: { code: 'SKILLS_NOT_FOUND' }
  })
  t.match(await r.post(other, '/v1/skills', { ref: '@acme/ranged@^9' }), {
    status: 404,
    body: { code: 'SKILLS_NOT_FOUND' }
  })
  for (const ref of ['ranged', '@acme/ranged@', '@acme/ranged@newest', '@acme/../x', '@ACME/ranged']) {
    t.match(await r.post(other, '/v1/skills', { ref }), {
      status: 400,
      body: { code: 'SKILLS_REF_INVALID', errors: [{ pointer: '/ref' }] }
    })
  }
  t.equal((await r.post(other, '/v1/skills', { ref: '@acme/ranged', more: 1 })).status, 400)
})

t.test('tenants see and remove their own installations only', async (t) => {
  await published({ name: '@acme/private' })
  const { body } = await r.post(acme, '/v1/skills', { ref: '@acme/private' })
  const mine = (await r.get(acme, '/v1/skills')).body.data
  t.strictSame(
    mine.map(({ id }: { id: string }) => id),
    [body.id]
  )
  t.notOk((await r.get(other, '/v1/skills')).body.data.some(({ id }: { id: string }) => id === body.id))
  const remove = (headers: object) =>
    r.app.inject({ method: 'DELETE', url: `/v1/skills/${body.id}`, headers: { ...headers } })
  t.equal((await remove(other.headers)).json().code, 'SKILLS_INSTALL_NOT_FOUND')
  t.equal((await remove(acme.headers)).statusCode, 204)
  t.equal((await remove(acme.headers)).statusCode, 404)
  t.equal((await r.app.inject({ method: 'DELETE', url: '/v1/skills/x', headers: acme.headers })).statusCode, 404)
  const [event] = await r.sql`select data from core.event where type = 'skill.uninstalled'`
  t.match(event, { data: { skillId: body.id, name: '@acme/private', version: '1.0.0' } })
})

t.test('a grant allows what the manifest asks for, or less', async (t) => {
  const permissions = {
    fetch: [{ host: 'api.example.com', methods: ['GET', 'POST'] }],
    storage: 'write',
    events: ['acme.done'],
    model: { tokens: 1000 }
  }
  await published({ name: '@acme/asks', manifest: { permissions } })
  const install = (grant?: object) => r.post(other, '/v1/skills', { ref: '@acme/asks', ...(grant ? { grant } : {}) })
  const tooMuch: [object, string][] = [
    [{ shell: true }, '/grant/shell'],
    [{ fetch: [{ host: 'evil.example.com', methods: ['GET'] }] }, '/grant/fetch/0'],
    [{ fetch: [{ host: 'api.example.com', methods: ['DELETE'] }] }, '/grant/fetch/0'],
    [{ fetch: [{ host: 'api.example.com', methods: ['GET'], secret: 'KEY' }] }, '/grant/fetch/0'],
    [{ files: 'read' }, '/grant/files'],
    [{ events: ['acme.other'] }, '/grant/events'],
    [{ model: { tokens: 1001 } }, '/grant/model'],
    [{ secrets: ['KEY'] }, '/grant/secrets']
  ]
  for (const [grant, pointer] of tooMuch) {
    t.match(
      await install(grant),
      { status: 422, body: { code: 'SKILLS_GRANT_INVALID', errors: [{ pointer }] } },
      pointer
    )
  }
  const less = { fetch: [{ host: 'api.example.com', methods: ['GET'] }], storage: 'read' }
  t.match(await install(less), { status: 201, body: { grant: less } })
  t.equal((await install(less)).status, 200)
  t.equal((await install()).status, 200)
  t.match(await install({}), { status: 409, body: { code: 'SKILLS_INSTALLED_OTHERWISE' } })
  t.match(await r.post(acme, '/v1/skills', { ref: '@acme/asks' }), { status: 201, body: { grant: permissions } })
})

t.test('one key of idempotency is one installation', async (t) => {
  await published({ name: '@acme/idem' })
  const send = () => r.post(other, '/v1/skills', { ref: '@acme/idem' }, { 'idempotency-key': 'install-1' })
  const [a, b] = [await send(), await send()]
  t.match([a.status, b.status, b.headers['idempotency-replayed']], [201, 201, 'true'])
  t.strictSame(a.body, b.body)
})

t.test('ten installations at once are one', async (t) => {
  await published({ name: '@acme/at-once' })
  const tenant = await r.makeTenant()
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => r.post(tenant, '/v1/skills', { ref: '@acme/at-once' }))
  )
  t.strictSame(answers.map(({ status }) => status).sort(), [...Array(9).fill(200), 201])
  t.equal((await installs(tenant.tenantId)).length, 1)
})

t.test('a package that was changed in the object store is not installed', async (t) => {
  const { package: skill } = await published({ name: '@acme/rotten' })
  const hex = skill.digest.slice('sha256:'.length)
  const folder = join(r.objectsDir, 'platform', hex.slice(0, 2))
  const [name] = (await readdir(folder)).filter((file) => hex.endsWith(file) || file === hex)
  const file = join(folder, name ?? '')
  const bytes = await readFile(file)
  bytes[100] = (bytes[100] ?? 0) ^ 1
  await writeFile(file, bytes)
  const tenant = await r.makeTenant()
  const answer = await r.post(tenant, '/v1/skills', { ref: '@acme/rotten' })
  t.match(answer, { status: 500, body: { code: 'OBJECTS_CORRUPT' } })
  t.equal((await installs(tenant.tenantId)).length, 0)
})

t.test('a registry whose database was rewritten is not believed', async (t) => {
  const tenant = await r.makeTenant()
  const refused = async (name: string, code: string) => {
    const answer = await r.post(tenant, '/v1/skills', { ref: name })
    t.match(answer.body, { code }, `${name}: ${code}`)
    t.ok(answer.status >= 400 && answer.status < 500)
  }
  const good = await published({ name: '@acme/good' })

  // Another package's digest and bundle under this name: everything is signed, and it is the wrong skill.
  await published({ name: '@acme/swapped' })
  await r.sql`
    update registry.version v set digest = g.digest, bundle = g.bundle from registry.version g
    where v.name = '@acme/swapped' and g.name = '@acme/good'`
  await refused('@acme/swapped', 'SKILLS_REGISTRY_INCONSISTENT')

  // The digest alone: the signatures are over another archive.
  await published({ name: '@acme/digest' })
  await r.sql`update registry.version set digest = ${good.package.digest} where name = '@acme/digest'`
  await refused('@acme/digest', 'SKILLS_ARCHIVE_DIGEST')

  // A bundle that only the author signed, and one that another registry signed.
  const lone = await published({ name: '@acme/lone' })
  await r.sql`update registry.version set bundle = ${lone.authorBundle} where name = '@acme/lone'`
  await refused('@acme/lone', 'SKILLS_REGISTRY_SIGNATURE_MISSING')
  await r.sql`update registry.version set bundle = ${lone.bundle} where name = '@acme/lone'`
  await refused('@acme/lone', 'SKILLS_SIGNER_UNTRUSTED')

  // An old version under a new number.
  await published({ name: '@acme/rollback', version: '1.0.0' })
  await published({ name: '@acme/rollback', version: '1.1.0', code: 'export const echo = () => 2\n' })
  await r.sql`
    update registry.version v set digest = o.digest, bundle = o.bundle from registry.version o
    where v.name = '@acme/rollback' and v.version = '1.1.0' and o.name = v.name and o.version = '1.0.0'`
  await refused('@acme/rollback@^1', 'SKILLS_REGISTRY_INCONSISTENT')

  // Bytes that the attacker brought and signed himself.
  const evil = pack(skillFiles({ name: '@acme/evil', code: 'export const echo = () => "evil"\n' }))
  await published({ name: '@acme/evil' })
  const { digest } = await r.objects.put('platform', evil.archive)
  const bundle = signPackage(evil.package, createKey().key, { createdAt: '2026-11-22T00:00:00.000Z' })
  await r.sql`update registry.version set digest = ${digest}, bundle = ${JSON.stringify(bundle)} where name = '@acme/evil'`
  await refused('@acme/evil', 'SKILLS_REGISTRY_SIGNATURE_MISSING')

  await r.sql`update registry.version set state = 'yanked' where name = '@acme/good'`
  await refused('@acme/good', 'SKILLS_NOT_FOUND')
  t.equal((await installs(tenant.tenantId)).length, 0)
})
