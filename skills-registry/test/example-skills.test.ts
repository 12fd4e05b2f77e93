import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { publishFolder } from '#skills-registry/publish-folder.ts'
import { registryApp } from './support/registry-app.ts'

// The examples by the whole way of a stranger's skill: folder, pack, sign, publish over HTTP, install, sandbox.
const r = await registryApp(t)
const zero = await r.makeTenant({ id: TENANT_ZERO, slug: 'zero' })
const tenant = await r.makeTenant()
const root = fileURLToPath(new URL('../../', import.meta.url))
const authorKeyFile = join(t.testdir({}), 'author.pem')

async function ready(name: string): Promise<PinnedSkill> {
  const publication = await publishFolder({ folder: join(root, 'examples/skills', name), authorKeyFile })
  const made = await r.publish(zero, publication)
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  await r.post(tenant, '/v1/skills', { ref: `@agentos/${name}@^1` })
  const [skill] = await r.db.tenant(tenant.tenantId, (tx) => r.tools.resolve(tx, [`@agentos/${name}@^1`]))
  if (!skill) throw new Error(`${name} is not installed`)
  return skill
}

const call = (skill: PinnedSkill, tool: string, input: unknown) =>
  r.tools.call({
    tenantId: tenant.tenantId,
    sessionId: '01900000-0000-7000-8000-000000000001',
    skill,
    skills: [skill],
    tool,
    input,
    step: 's',
    attempt: 1,
    effectKey: 'k',
    time: 0,
    seed: 's',
    signal: new AbortController().signal
  })

t.test('csv-profile profiles the weather in the sandbox', async (t) => {
  const skill = await ready('csv-profile')
  t.equal(skill.verified, true)
  const file = new URL('../data/seattle-weather.csv', import.meta.resolve('vega-datasets'))
  const csv = await readFile(file, 'utf8')
  const { output } = await call(skill, 'profile', { csv })
  t.match(output, {
    rows: 1461,
    nullRate: 0,
    columns: [
      { name: 'date', type: 'date' },
      { name: 'precipitation', max: 55.9 }
    ]
  })
  await t.rejects(call(skill, 'profile', { csv: 7 }), { code: 'TOOL_INPUT_INVALID', details: { pointer: '/csv' } })
  await t.rejects(call(skill, 'profile', { csv: '\n' }), { code: 'SKILL_ERROR', message: /no header/ })
})

t.test('changelog-digest reads the changelog of this repository in the sandbox', async (t) => {
  const skill = await ready('changelog-digest')
  const markdown = await readFile(join(root, 'CHANGELOG.md'), 'utf8')
  const { output } = await call(skill, 'digest', { markdown })
  t.match(output, { title: /changelog/i })
  const { versions } = output as { versions: { version: string; entries: number }[] }
  t.ok(versions.length > 0)
  t.ok(versions.some(({ entries }) => entries > 0))
})
