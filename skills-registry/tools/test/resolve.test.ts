import t from 'tap'
import type { PinnedSkill, SkillRef } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key
const other = createKey().key

const tool = { description: 'd', input: {}, output: {}, effect: 'none' }
async function installed(name: string, options: Draft & { permissions?: object; grant?: object } = {}) {
  const { permissions = {}, grant, ...draft } = options
  const manifest = { tools: { run: tool, parse: tool }, permissions, ...draft.manifest }
  const signed = signedSkill({ ...draft, name, manifest }, { author: name.startsWith('@acme/') ? author : other })
  const made = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  const ref = `${name}@${draft.version ?? '1.0.0'}`
  return (await r.post(acme, '/v1/skills', grant ? { ref, grant } : { ref })).body.id as string
}
const resolve = (refs: readonly SkillRef[], tenantId = acme.tenantId) =>
  r.db.tenant(tenantId, (tx) => r.tools.resolve(tx, refs))
const shown = (skills: PinnedSkill[]) =>
  skills.map(({ alias, version, hidden, calls }) => ({
    alias,
    version,
    ...(hidden && { hidden }),
    ...(calls && { calls })
  }))
const at = (index: number) => ({ status: 422, details: { index, errors: [{ pointer: `/skills/${index}` }] } })

const csv1 = await installed('@acme/csv')
const csv2 = await installed('@acme/csv', { version: '2.0.0' })
await installed('@acme/csv', { version: '3.0.0-beta.1' })
const report = await installed('@acme/report', { permissions: { tools: ['csv.parse', 'report.run', 'deep.run'] } })
const deep = await installed('@acme/deep', { permissions: { tools: ['csv.run', 'report.run', 'nowhere.run'] } })

t.test('skills that may be called are pinned too, in their highest version, where no step finds them', async (t) => {
  const skills = await resolve(['@acme/report'])
  t.strictSame(shown(skills), [
    { alias: 'report', version: '1.0.0', calls: { csv: csv2, report, deep } },
    { alias: 'csv', version: '2.0.0', hidden: true },
    { alias: 'deep', version: '1.0.0', hidden: true, calls: { csv: csv2, report } }
  ])
  t.strictSame(JSON.parse(JSON.stringify(skills)), skills)
})

t.test('what only a called skill may call is not looked for: its caller may not call it', async (t) => {
  await t.rejects(resolve(['@acme/deep']), {
    code: 'SKILLS_CALLEE_NOT_INSTALLED',
    message: /@acme\/deep may call nowhere\.run.*POST \/v1\/skills/,
    ...at(0)
  })
})

t.test(
  'a skill of the session goes before any other: by its alias, then in the version that it has there',
  async (t) => {
    const [, one] = shown(await resolve(['@acme/report', '@acme/csv@^1']))
    t.strictSame(one, { alias: 'csv', version: '1.0.0' })
    const renamed = shown(await resolve(['@acme/report', { ref: '@acme/csv@^1', as: 'old' }]))
    t.strictSame(
      renamed.map(({ alias }) => alias),
      ['report', 'old', 'deep']
    )
    t.match(renamed[0], { calls: { csv: csv1 } })
    const byAlias = await resolve(['@acme/report', { ref: '@acme/deep', as: 'csv' }, '@acme/csv']).catch((e) => e)
    t.match(byAlias, { code: 'SKILLS_ALIAS_CONFLICT' })
    const own = shown(await resolve([{ ref: '@acme/report', as: 'mine' }]))
    t.match(own[0], { alias: 'mine', calls: { report } }, 'itself under another alias')
  }
)

t.test('a callee without the tool is said when the session is made', async (t) => {
  await installed('@acme/asks', { permissions: { tools: ['csv.gone'] } })
  const error = {
    code: 'SKILLS_CALLEE_TOOL_UNKNOWN',
    message: /@acme\/asks may call csv\.gone, and @acme\/csv 2\.0\.0/
  }
  await t.rejects(resolve(['@acme/csv@^2', '@acme/asks']), { ...error, ...at(1) })
  await installed('@acme/narrow', { permissions: { tools: ['csv.gone'] }, grant: {} })
  t.equal((await resolve(['@acme/narrow'])).length, 1, 'what the tenant did not grant is not looked for')
})

t.test('two skills of one short name: the session says which', async (t) => {
  const theirs = await installed('@other/csv')
  await t.rejects(resolve(['@acme/report']), {
    code: 'SKILLS_CALLEE_AMBIGUOUS',
    message: /@acme\/csv and @other\/csv are installed.*\{"ref":"@acme\/csv","as":"csv"\}/,
    ...at(0)
  })
  const [caller] = await resolve(['@acme/report', { ref: '@other/csv', as: 'csv' }])
  t.match(caller, { calls: { csv: theirs } })
})

t.test('another tenant’s installations are not there', async (t) => {
  const stranger = await r.makeTenant()
  const ref = '@acme/report@1.0.0'
  const status = (await r.post(stranger, '/v1/skills', { ref })).status
  t.equal(status, 201)
  await t.rejects(resolve(['@acme/report'], stranger.tenantId), { code: 'SKILLS_CALLEE_NOT_INSTALLED' })
})

t.test('a model is only for skills of a server that has one', async (t) => {
  await installed('@acme/thinks', { permissions: { model: { tokens: 10 } } })
  await installed('@acme/asks-it', { permissions: { tools: ['thinks.run'], storage: 'read' } })
  await t.rejects(resolve(['@acme/thinks']), {
    code: 'SKILLS_CAPABILITY_UNAVAILABLE',
    status: 422,
    details: { index: 0, capabilities: ['model'] }
  })
  t.strictSame(
    (await resolve(['@acme/asks-it'])).map(({ alias }) => alias),
    ['asks-it', 'thinks'],
    'called, it has no more than its caller, and that is no model'
  )
})

t.test('a session holds 64 skills at most, those included that it does not name', async (t) => {
  const names = Array.from({ length: 64 }, (_, n) => `callee-${n}`)
  const addresses = names.map((name) => `${name}.run`)
  await installed('@acme/wide', { permissions: { tools: addresses } })
  // Sixty-four packages would only be slow: the rows are what is counted.
  await r.db.tenant(acme.tenantId, async (tx) => {
    await tx`
      insert into registry.install (id, name, version, digest, range, permissions, verified)
      select gen_random_uuid(), '@acme/' || n, version, digest, range, '{}'::jsonb, verified
      from registry.install, unnest(${names}::text[]) n where id = ${csv1}`
  })
  await t.rejects(resolve(['@acme/csv@^2', '@acme/wide']), { code: 'SKILLS_TOO_MANY', details: { index: 1, max: 64 } })
})
