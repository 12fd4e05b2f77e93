import t from 'tap'
import skillsRegistry from '#skills-registry/index.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import tools from '#skills-registry/tools/index.ts'
import type { TestTenant } from '#test/support/app.ts'
import { pulseApp } from '#test/support/pulse-app.ts'

const tool = (description: string) => ({ description, input: {}, output: {}, effect: 'none' })

t.test('a hostile skill fails its own step with a clear code, and a neighbour’s session does not notice', async (t) => {
  const app = await pulseApp(t, null, {
    rooms: [{ room: skillsRegistry, options: { keyFile: `${t.testdir()}/registry.key` } }, { room: tools }]
  })
  const post = (who: TestTenant, url: string, payload: object | Buffer, headers: Record<string, string> = {}) =>
    app.app.inject({ method: 'POST', url, payload, headers: { ...who.headers, ...headers } })
  const install = async (who: TestTenant, name: string, tools: string[], code: string) => {
    const manifest = { tools: Object.fromEntries(tools.map((one) => [one, tool(one)])), limits: { wallMs: 1500 } }
    const signed = signedSkill({ name, code, manifest })
    const form = uploadForm([
      ['package', signed.archive],
      ['bundle', signed.authorBundle]
    ])
    const published = await post(who, '/v1/registry/skills', form.payload, form.headers)
    t.equal(published.statusCode, 201, published.body)
    const installed = await post(who, '/v1/skills', { ref: `${name}@^1` })
    t.equal(installed.statusCode, 201, installed.body)
  }
  const [mallory, victim] = [await app.makeTenant(), await app.makeTenant()]
  await install(
    mallory,
    '@mallory/evil',
    ['loop', 'memory', 'split', 'hang'],
    `export async function loop() { await null; while (true); }
     export function memory() { const m = new Map(); for (let i = 0; ; i++) m.set(i, { i }); }
     export function split() { return 'a'.repeat(2 ** 28).split('').length; }
     export function hang() { return [].indexOf.call({ length: 2 ** 53 - 1 }, 1); }`
  )
  // Of its own: three of the attacks may have stopped the other one by now.
  await install(mallory, '@honest/plain', ['fine'], 'export const fine = async () => ({ fine: true })')
  await install(victim, '@victim/calm', ['next'], 'export const next = async ({ n }) => ({ n: n + 1 })')

  const calm = await app.create(victim, {
    skills: ['@victim/calm'],
    input: { n: 0 },
    steps: Array.from({ length: 25 }, (_, index) => ({
      id: `s${index}`,
      kind: 'tool',
      tool: 'calm.next',
      input: { n: { $ref: index === 0 ? 'input.n' : `steps.s${index - 1}.output.n` } }
    }))
  })
  t.equal(calm.status, 202)
  const attacks = await Promise.all(
    ['loop', 'memory', 'split', 'hang'].map(async (attack) => {
      const { body } = await app.create(mallory, {
        skills: ['@mallory/evil'],
        steps: [{ id: 'attack', kind: 'tool', tool: `evil.${attack}` }]
      })
      return { attack, session: await app.reaches(mallory, body.id, 'FAILED', 'COMPLETE') }
    })
  )
  const allowed: Record<string, RegExp> = {
    loop: /^SANDBOX_TIMEOUT$/,
    memory: /^SANDBOX_(MEMORY|KILLED|TIMEOUT)$/,
    split: /^SANDBOX_(MEMORY|KILLED|TIMEOUT)$/,
    hang: /^SANDBOX_(TIMEOUT|KILLED)$/
  }
  for (const { attack, session } of attacks) {
    t.equal(session.state, 'FAILED', attack)
    t.match(session.error, { code: allowed[attack], step: 'attack' }, `${attack}: ${JSON.stringify(session.error)}`)
    t.notMatch(session.error.message, /\/(work|home|root|tmp|node_modules)\b/, 'no path of the host')
  }
  const session = await app.reaches(victim, calm.body.id, 'COMPLETE', 'FAILED')
  t.strictSame(session.result, { n: 25 }, JSON.stringify(session.error))
  t.ok(
    session.steps.every((step: { attempt: number }) => step.attempt === 1),
    'no step had to be tried again'
  )

  const after = await app.create(mallory, {
    skills: ['@honest/plain'],
    steps: [{ id: 'ok', kind: 'tool', tool: 'plain.fine' }]
  })
  t.match(
    await app.reaches(mallory, after.body.id, 'COMPLETE', 'FAILED'),
    { result: { fine: true } },
    'its next call finds a new cell'
  )
})
