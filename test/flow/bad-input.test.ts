import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Pool } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'
import { publishFolder } from '#skills-registry/publish-folder.ts'
import { runNode } from '#test/support/run-node.ts'
import { openHome } from '#test/support/server-home.ts'
import { wsClient } from '#test/support/ws-client.ts'

const step = (id: string, csv: unknown, tool = 'csv-profile.profile') => ({ id, kind: 'tool', tool, input: { csv } })
const config = (...steps: object[]) => ({ skills: ['@agentos/csv-profile@^1'], input: { csv: 'a\n1\n' }, steps })
const ref = (path: string) => ({ $ref: path })

/** Session configs that must be refused: [what is wrong, config, status, code, where]. */
const configs: [string, object, number, string, string][] = [
  ['a reference to no step', config(step('a', ref('steps.b.output'))), 422, 'PULSE_REF_UNKNOWN', '/steps/0/input/csv'],
  [
    'a circle of references',
    config(step('a', ref('steps.b.output')), step('b', ref('steps.a.output'))),
    422,
    'PULSE_REF_CYCLE',
    '/steps/0/input/csv'
  ],
  ['an unknown tool', config(step('a', 'x', 'csv-profile.nothing')), 422, 'PULSE_TOOL_UNKNOWN', '/steps/0/tool'],
  ['a skill that is not installed', config(step('a', 'x', 'other.tool')), 422, 'PULSE_TOOL_UNKNOWN', '/steps/0/tool'],
  ['an input that the tool does not take', config(step('a', 7)), 422, 'PULSE_TOOL_INPUT_INVALID', '/steps/0/input/csv'],
  ['an unknown key', { ...config(step('a', 'x')), stpes: [] }, 400, 'REQUEST_INVALID', '/stpes'],
  ['an unknown key of a step', config({ ...step('a', 'x'), retries: 3 }), 400, 'REQUEST_INVALID', '/steps/0/retries'],
  ['no steps', config(), 400, 'REQUEST_INVALID', '/steps']
]

// What a refused request must not change. Left out: what the server does by itself (pg-boss, leases of consumers).
async function rowCounts(sql: Pool): Promise<Record<string, number>> {
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', schemaname, tablename) as name from pg_tables
    where schemaname in ('core', 'registry', 'pulse') order by 1`
  const counts: Record<string, number> = {}
  for (const { name } of tables) {
    const [row] = await sql<{ n: number }[]>`select count(*)::int as n from ${sql.unsafe(name)}`
    counts[name] = row?.n ?? 0
  }
  const [jobs] = await sql<{ n: number }[]>`select count(*)::int as n from pgboss.job_common where name like 'pulse%'`
  return { ...counts, jobs: jobs?.n ?? 0 }
}

t.test('bad input has a code, a status and a place, and leaves no row behind', async (t) => {
  const home = join(t.testdir(), 'home')
  const server = runNode(t, 'config/main.ts', [], { AGENTOS_HOME: home, PORT: '0', LOG_LEVEL: 'warn' })
  const [, url = ''] = await server.says(/^agentos ready on (\S+)/m)
  await server.says(/Type next/)
  const key = (await readFile(join(home, 'owner.key'), 'utf8')).trim()
  const { sql, makeTenant } = await openHome(t, home)
  const stranger = await makeTenant()
  const before = await rowCounts(sql)
  t.ok(Object.keys(before).length > 15)

  const ask = async (method: string, path: string, body?: string | FormData, headers: Record<string, string> = {}) => {
    const json = typeof body === 'string' ? { 'content-type': 'application/json' } : {}
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...json, ...headers },
      ...(body === undefined ? {} : { body })
    })
    const type = answer.headers.get('content-type') ?? ''
    // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
    return { status: answer.status, type, body: (await answer.json()) as any }
  }
  const problem = (status: number, code: string) => ({
    status,
    type: /^application\/problem\+json/,
    body: { status, code, type: String, title: String, detail: String, requestId: String }
  })
  const socket = async (token: string | null = key) => {
    const client = await wsClient(url)
    t.teardown(() => client.close())
    if (token !== null) t.match(await client.request('hello', { protocol: 1, token }), { result: {} })
    return client
  }

  await t.test('session configs, over HTTP and WebSocket alike', async (t) => {
    const client = await socket()
    for (const [what, bad, status, code, pointer] of configs) {
      const answer = await ask('POST', '/v1/sessions', JSON.stringify(bad), { 'idempotency-key': newId() })
      t.match(answer, problem(status, code), what)
      t.match(answer.body.errors, [{ pointer, detail: /./ }], `${what}: where`)
      const frame = await client.request('session.create', { config: bad, idempotencyKey: newId() })
      t.match(frame, { error: { status, code, message: /./ } }, `${what}, as a frame`)
      t.match(JSON.stringify(frame.error), pointer, `${what}, as a frame: where`)
    }
    client.close()
  })

  await t.test('bodies that are too large or no JSON', async (t) => {
    const large = JSON.stringify(config(step('a', 'x'.repeat(1024 * 1024))))
    t.match(await ask('POST', '/v1/sessions', large), problem(413, 'REQUEST_TOO_LARGE'))
    t.match(await ask('POST', '/v1/sessions', '{"steps": ['), problem(400, 'REQUEST_BODY_MALFORMED'))
    t.match(await ask('POST', '/v1/sessions', '{"__proto__": {}}'), problem(400, 'REQUEST_INVALID'))
    const form = { 'content-type': 'text/plain' }
    t.match(await ask('POST', '/v1/sessions', 'a=b', form), problem(415, 'REQUEST_MEDIA_TYPE_UNSUPPORTED'))
  })

  await t.test('frames that are too large, malformed or of no method', async (t) => {
    const client = await socket()
    client.send('{"id": "1", "method"')
    await client.sees(({ error }) => error?.code === 'WS_FRAME_MALFORMED' && error.status === 400, 'a malformed frame')
    client.send('{"id": 7}')
    await client.sees(() => client.others.length === 2, 'a frame without a method')
    t.match(await client.request('session.fly'), { error: { code: 'WS_METHOD_UNKNOWN', status: 404 } })
    t.match(await client.request('session.get', { sessionId: 'x' }), {
      error: { status: 400, code: 'REQUEST_INVALID' }
    })
    client.send(JSON.stringify({ id: '9', method: 'ping', params: { x: 'x'.repeat(1024 * 1024) } }))
    t.equal(await client.closed, 1009)
  })

  await t.test('keys that are bad, missing or not allowed', async (t) => {
    const bad = [`${key.slice(0, -3)}000`, 'ak_live_x', 'nonsense', `${key}x`]
    for (const token of bad) {
      const answer = await ask('GET', '/v1/sessions', undefined, { authorization: `Bearer ${token}` })
      t.match(answer, problem(401, 'AUTH_REQUIRED'), token.slice(0, 10))
      const client = await wsClient(url)
      const refused = await client.request('hello', { protocol: 1, token })
      t.match(refused, { error: { status: 401, code: 'AUTH_REQUIRED' } })
      t.equal(await client.closed, 4401)
    }
    const early = await socket(null)
    t.match(await early.request('session.get', { sessionId: newId() }), { error: { code: 'WS_HELLO_REQUIRED' } })
    t.equal(await early.closed, 4400)
  })

  await t.test("another tenant's session looks like one that is not there", async (t) => {
    const { body } = await ask('GET', '/v1/sessions')
    const foreign: string = body.data[0].id
    const as = { authorization: `Bearer ${stranger.key}` }
    const paths = ['', '/events', '/pause', '/resume', '/cancel', '/run']
    for (const path of paths) {
      const method = path === '' || path === '/events' ? 'GET' : 'POST'
      const [theirs, absent] = await Promise.all(
        [foreign, newId()].map(async (id) => {
          const answer = await ask(method, `/v1/sessions/${id}${path}`, undefined, as)
          const { requestId, ...said } = answer.body
          t.type(requestId, 'string')
          return { status: answer.status, said: JSON.stringify(said).replaceAll(id, 'ID') }
        })
      )
      t.match(theirs, { status: 404, said: /PULSE_SESSION_NOT_FOUND/ }, path)
      t.strictSame(theirs, absent, `${path}: the same words`)
    }
    const client = await socket(stranger.key)
    for (const method of ['session.get', 'session.pause', 'session.resume', 'session.cancel', 'session.run']) {
      const [theirs, absent] = [
        await client.request(method, { sessionId: foreign }),
        await client.request(method, { sessionId: newId() })
      ]
      t.match(theirs, { error: { status: 404, code: 'PULSE_SESSION_NOT_FOUND' } }, method)
      t.strictSame(Object.keys(theirs.error ?? {}), Object.keys(absent.error ?? {}), method)
    }
    await client.request('subscribe', { topics: [`session:${foreign}`], after: 0 })
    t.match(await client.request('ping'), { result: {} })
    t.strictSame(client.others, [], "and none of its events come to a stranger's socket")
  })

  await t.test('a .skill with one bit changed, wherever it is', async (t) => {
    const folder = fileURLToPath(new URL('../../examples/skills/csv-profile/', import.meta.url))
    const { archive, bundle } = await publishFolder({ folder, authorKeyFile: join(home, 'author.key') })
    const upload = async (bytes: Uint8Array, text: string) => {
      const form = new FormData()
      form.append('package', new Blob([Uint8Array.from(bytes)], { type: 'application/gzip' }), 'x.skill')
      form.append('bundle', new Blob([text], { type: 'application/json' }), 'x.skill.bundle.json')
      return await ask('POST', '/v1/registry/skills', form)
    }
    const places = Array.from({ length: 12 }, (_, n) => Math.floor((n / 11) * (archive.length - 1)))
    for (const at of places) {
      const changed = Uint8Array.from(archive)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      const answer = await upload(changed, bundle)
      t.match(answer.body.code, /^SKILLS_/, `bit of byte ${at}: ${answer.body.code}`)
      t.ok(answer.status === 422 || answer.status === 413, `byte ${at}: ${answer.status}`)
      t.match(answer.body.detail, /./)
    }
    const parsed = JSON.parse(bundle)
    const signature: string = parsed.publish.signatures[0].sig
    parsed.publish.signatures[0].sig = `${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
    t.match(await upload(archive, JSON.stringify(parsed)), problem(422, 'SKILLS_AUTHOR_SIGNATURE_INVALID'))
    t.match(await upload(archive, '{'), { status: /^4/, body: { code: /^SKILLS_/ } })
    t.match(
      await ask('POST', '/v1/skills', JSON.stringify({ ref: '@nobody/nothing@^1' })),
      problem(404, 'SKILLS_NOT_FOUND')
    )
  })

  t.strictSame(await rowCounts(sql), before, 'no row was left behind')
  t.notMatch(server.stderr(), /"level":"(error|fatal)"/, 'and nothing of it was a fault of ours')
  t.notOk(server.stderr().includes(key.slice(-20)))
})
