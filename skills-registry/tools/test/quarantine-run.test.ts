import t from 'tap'
import { newId } from '#core/ids.ts'
import type { PinnedSkill, ToolError } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'

// The quarantine as a session meets it: real calls of an installed skill, whose process is really killed.
const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key
const tool = { description: 'd', input: {}, output: {}, effect: 'none' }

async function install(version: string): Promise<PinnedSkill> {
  const { archive, authorBundle } = signedSkill(
    {
      name: '@acme/stuck',
      version,
      manifest: { tools: { hang: tool, loop: tool, fine: tool }, limits: { cpuMs: 400, wallMs: 10_000 } },
      code: `export const hang = () => [].indexOf.call({ length: 2 ** 53 - 1 }, 1)
        export const loop = () => { while (true); }
        export const fine = () => 1\n// ${version}`
    },
    { author }
  )
  await r.publish(acme, { archive, bundle: authorBundle })
  await r.post(acme, '/v1/skills', { ref: `@acme/stuck@${version}` })
  const [skill] = await resolve(version)
  if (!skill) throw new Error('not installed')
  return skill
}
const resolve = (version: string) => r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, [`@acme/stuck@${version}`]))

async function call(skill: PinnedSkill, tool: string): Promise<ToolError | undefined> {
  const sessionId = newId()
  const asked = { tenantId: acme.tenantId, sessionId, skill, skills: [skill], tool, input: {}, step: 's', attempt: 1 }
  const recorded = { effectKey: `${sessionId}/s`, time: 0, seed: 's', signal: new AbortController().signal }
  return await r.tools.call({ ...asked, ...recorded }).then(
    () => undefined,
    (error) => error
  )
}

t.test('a version whose calls end their process three times runs no more, and the next version does', async (t) => {
  const skill = await install('1.0.0')
  for (let i = 0; i < 3; i++) t.match(await call(skill, 'loop'), { code: 'SANDBOX_TIMEOUT' })
  t.equal(await call(skill, 'fine'), undefined, 'a time limit is no crash')
  for (let i = 0; i < 3; i++) t.match(await call(skill, 'hang'), { code: 'SANDBOX_KILLED', retryable: false })

  const refused = await call(skill, 'fine')
  t.match(refused, { code: 'TOOL_QUARANTINED', retryable: false, message: /3 calls within 10 minutes/ })
  t.equal(refused?.usage, undefined, 'the sandbox was not asked')
  await t.rejects(resolve('1.0.0'), { code: 'SKILLS_QUARANTINED', details: { errors: [{ pointer: '/skills/0' }] } })
  t.equal(await call(await install('1.0.1'), 'fine'), undefined)
  const { body } = await r.get(acme, '/v1/skills/quarantines')
  t.match(body.data, [{ skill: '@acme/stuck', version: '1.0.0', state: 'open', crashes: { length: 3 } }])
})
