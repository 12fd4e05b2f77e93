// The author's whole way but for the signature: src/*.ts packed, run in the sandbox, on a host that answers like GitHub.
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { compileSchema } from '#core/json-schema.ts'
import { Sandbox, SandboxError } from '#sandbox/index.ts'
import { fakeHost } from '#sandbox/test/fake-host.ts'
import { packFolder } from '#skills-registry/package/pack.ts'
import { moduleSources } from '#skills-registry/package/read.ts'
import { tsc } from '#test/support/tsc.ts'

const folder = fileURLToPath(new URL('../', import.meta.url))
const { package: skill } = await packFolder(folder)
const sandbox = new Sandbox({ clock: systemClock })
t.teardown(() => sandbox.close())

type Answer = { status?: number; headers?: [string, string][]; body?: unknown }
const release = (tag: string, day: number, more: object = {}) => ({
  tag_name: tag,
  name: null,
  published_at: `2026-11-0${day}T00:00:00Z`,
  html_url: `https://github.com/acme/app/releases/${tag}`,
  prerelease: false,
  draft: false,
  ...more
})

function world() {
  let answer: Answer = {}
  const host = fakeHost({
    fetch: ({ url }: { url: string }) => ({
      url,
      status: answer.status ?? 200,
      statusText: '',
      headers: answer.headers ?? [],
      redirected: false,
      body: { text: JSON.stringify(answer.body ?? []) }
    })
  })
  let steps = 0
  return {
    host,
    says: (next: Answer) => {
      answer = next
    },
    async call(tool: string, input: unknown, step = `s:${++steps}`) {
      const { output } = await sandbox.run({
        tenantId: 'a',
        sessionId: 's',
        skill: { digest: skill.digest, entry: 'dist/index.js', files: moduleSources(skill.files), verified: true },
        export: tool,
        input: JSON.stringify(input),
        limits: skill.manifest.limits,
        session: { id: 's', tenantId: 'a', step, attempt: 1, effectKey: step },
        time: 0,
        seed: 's',
        capabilities: ['log', 'progress', 'fetch', 'storage.get', 'storage.list', 'storage.set', 'storage.delete'],
        onHostCall: host.onHostCall
      })
      const value = JSON.parse(output)
      t.strictSame(compileSchema(skill.manifest.tools[tool]?.output)(value), [], 'as its schema says')
      return value
    }
  }
}
const input = { repository: 'Acme/App' }
const tags = ({ new: found }: { new: { tag: string }[] }) => found.map(({ tag }) => tag)

t.test('the first look is no news, and each release is told once', async (t) => {
  const { host, says, call } = world()
  says({ body: [release('v1', 1)] })
  t.strictSame(await call('check', input), { repository: 'Acme/App', firstLook: true, latest: 'v1', new: [] })
  says({
    body: [
      release('v1', 1),
      release('v3', 3),
      release('v2', 2),
      release('next', 4, { prerelease: true, name: 'Next' }),
      release('mine', 5, { draft: true })
    ]
  })
  const second = await call('check', input, 'again')
  t.strictSame([tags(second), second.latest, second.firstLook], [['v3', 'v2'], 'v3', false])
  t.strictSame(await call('check', input, 'again'), second, 'a second attempt of the step hears the same')
  t.strictSame(tags(await call('check', input)), [])
  t.strictSame(tags(await call('check', { ...input, prereleases: true })), ['next'])
  t.strictSame(tags(await call('check', input)), [], 'a look without pre-releases does not go back')
  t.strictSame(await call('forget', input), { forgotten: true })
  t.match(await call('check', input), { firstLook: true })
  t.match(host.asked.find(({ name }) => name === 'fetch')?.args[0], {
    url: 'https://api.github.com/repos/Acme/App/releases?per_page=20',
    method: 'GET'
  })
  t.match(host.asked[0], { name: 'progress', args: [0.1, 'asking GitHub for Acme/App'] })
})

t.test('what GitHub refuses is said in words, at the author’s own line', async (t) => {
  const { says, call } = world()
  says({ status: 404 })
  const error = await call('check', input).catch((cause) => cause)
  t.type(error, SandboxError)
  t.equal(error.message, 'GitHub knows no public repository Acme/App')
  t.match(
    error.details.stack,
    /^at fetchReleases \(src\/github\.ts:\d+:\d+\)\nat async check \(src\/index\.ts:\d+:\d+\)$/
  )
  says({ status: 403, headers: [['x-ratelimit-reset', '1700000000']] })
  await t.rejects(call('check', input), { message: 'GitHub asks to wait until 2023-11-14T22:13:20.000Z' })
  says({ status: 502 })
  await t.rejects(call('check', input), { message: 'GitHub answered 502 for Acme/App' })
  says({ body: [] })
  t.match(await call('check', input), { firstLook: true, latest: null })
})

t.test('its sources are what the kit’s compiler settings let through', async (t) => {
  t.equal(await tsc(folder), '')
})
