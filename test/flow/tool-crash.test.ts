import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import { runNode } from '#test/support/run-node.ts'
import { until } from '#test/support/until.ts'

// A server is killed while a tool waits between its effects and its end. The next one runs the attempt again, and every
// effect is there once.
const home = join(t.testdir(), 'home')

async function start() {
  const server = runNode(t, 'config/main.ts', [], { AGENTOS_HOME: home, PORT: '0', LOG_LEVEL: 'warn' })
  const [, url = ''] = await server.says(/^agentos ready on (http:\/\/127\.0\.0\.1:\d+)$/m)
  const key = (await readFile(join(home, 'owner.key'), 'utf8')).trim()
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const isForm = body instanceof Buffer
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined || isForm ? {} : { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body === undefined ? {} : { body: isForm ? new Uint8Array(body) : JSON.stringify(body) })
    })
    const text = await answer.text()
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
    return JSON.parse(text) as any
  }
  return { server, ask }
}

t.test('the effects of a tool that a crash cut off are there once', async (t) => {
  const tool = { description: 'counts', input: {}, output: {}, effect: 'none' }
  const { archive, authorBundle } = signedSkill({
    name: '@crash/counter',
    manifest: { tools: { count: tool }, permissions: { storage: 'write', files: 'write', events: ['tool.counted'] } },
    code: `
      export async function count(input, ctx) {
        const before = (await ctx.storage.get('count'))?.value ?? 0
        await ctx.storage.set('count', before + 1)
        await ctx.files.append('log.txt', 'counted ' + Date.now())
        await ctx.events.publish('tool.counted', { count: before + 1 })
        await new Promise((done) => setTimeout(done, 3000))
        return { count: before + 1, at: Date.now() }
      }
    `
  })
  const one = await start()
  const form = uploadForm([
    ['package', archive],
    ['bundle', authorBundle]
  ])
  await one.ask('POST', '/v1/registry/skills', form.payload, form.headers)
  await one.ask('POST', '/v1/skills', { ref: '@crash/counter@1.0.0' })
  const session = await one.ask('POST', '/v1/sessions', {
    skills: ['@crash/counter@1.0.0'],
    steps: [{ id: 'count', kind: 'tool', tool: 'counter.count' }]
  })
  const counted = async (ask: typeof one.ask) =>
    (await ask('GET', `/v1/sessions/${session.id}/events`)).data.filter(
      ({ event }: { event: string }) => event === 'custom.crash.counter.tool.counted'
    )
  await until(async () => (await counted(one.ask)).length === 1, 'the tool counted')
  await one.server.end('SIGKILL')

  const two = await start()
  const state = async () => await two.ask('GET', `/v1/sessions/${session.id}`)
  await until(async () => ['COMPLETE', 'FAILED'].includes((await state()).state), 'the session ended')
  const { result, error, state: end } = await state()
  t.equal(end, 'COMPLETE', JSON.stringify(error))
  t.equal(result.count, 1)
  t.equal((await counted(two.ask)).length, 1)
  const stored = await two.ask('GET', '/v1/storage/crash/counter/value?key=count')
  t.match(stored, { value: 1, version: 1 })
  const { data: files } = await two.ask('GET', `/v1/sessions/${session.id}/files`)
  t.match(files, [{ path: 'log.txt', bytes: `counted ${result.at}`.length }])
})
