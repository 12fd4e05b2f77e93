import t from 'tap'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'

const server = await testApp(t)
const { app, sql } = server
const a = await server.makeTenant()
const b = await server.makeTenant()

type Body = Record<string, unknown>

async function ask(
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  path: string,
  payload?: Body,
  headers: object = a.headers
) {
  const answer = await app.inject({
    method,
    url: `/v1/secrets${path}`,
    headers: { ...headers },
    ...(payload ? { payload } : {})
  })
  return { status: answer.statusCode, headers: answer.headers, body: answer.body === '' ? null : answer.json() }
}

const actions = async (name: string) =>
  (await sql`select action from audit.entry where subject = ${`secret:${name}`} order by id`).map(
    ({ action }) => action
  )

t.test('a secret is put, rotated, granted and deleted; each is a row in the audit log', async (t) => {
  const put = await ask('PUT', '/API_TOKEN', { value: 'first' })
  t.equal(put.status, 201)
  t.equal(put.headers.location, '/v1/secrets/API_TOKEN')
  const { createdAt } = put.body
  const made = { name: 'API_TOKEN', version: 1, previousVersion: null, rotatedAt: null, lastUsedAt: null, grants: [] }
  t.strictSame(put.body, { ...made, createdAt })
  t.match(await ask('PUT', '/API_TOKEN', { value: 'second' }), { status: 200, body: { version: 2, createdAt } })
  t.match(await ask('POST', '/API_TOKEN/rotate', { value: 'third' }), {
    status: 200,
    body: { version: 3, previousVersion: 2, rotatedAt: /Z$/ }
  })
  t.match(await ask('PUT', '/API_TOKEN/grants', { skill: '@acme/weather', hosts: ['api.example.com'] }), {
    status: 200,
    body: { grants: [{ skill: '@acme/weather', hosts: ['api.example.com'], grantedAt: /Z$/ }] }
  })
  const granted = await ask('PUT', '/API_TOKEN/grants', { agent: 'analyst of weather' })
  t.match(granted.body.grants, [{ skill: '@acme/weather' }, { agent: 'analyst of weather', hosts: null }])
  t.strictSame((await ask('GET', '/API_TOKEN')).body, granted.body)
  t.strictSame((await ask('GET', '')).body, { data: [granted.body], nextCursor: null })
  t.equal((await ask('DELETE', '/API_TOKEN/grants?skill=@acme/weather')).status, 204)
  t.match(await ask('DELETE', '/API_TOKEN/grants?skill=@acme/weather'), {
    status: 404,
    body: { detail: 'grant not found' }
  })
  t.equal((await ask('DELETE', '/API_TOKEN')).status, 204)
  t.match(await ask('DELETE', '/API_TOKEN'), { status: 404, body: { code: 'RESOURCE_NOT_FOUND' } })
  t.match(await ask('GET', ''), { body: { data: [], nextCursor: null } })
  t.strictSame(await actions('API_TOKEN'), [
    'secret.created',
    'secret.replaced',
    'secret.rotated',
    'secret.granted',
    'secret.granted',
    'secret.grant_revoked',
    'secret.deleted'
  ])
})

t.test(
  "a name with a path in it, another case or length says what a name is; it is nobody's name otherwise",
  async (t) => {
    for (const name of [
      'lower',
      '..%2FTOKEN',
      'A%2FB',
      '%2Fetc%2Fpasswd',
      '1A',
      'A-B',
      'A B',
      `A${'B'.repeat(64)}`,
      'Ä'
    ]) {
      t.match(await ask('PUT', `/${name}`, { value: 'x' }), {
        status: 400,
        body: { code: 'REQUEST_INVALID', errors: [{ in: 'path', pointer: '/name', detail: /capital letters/ }] }
      })
      t.equal((await ask('GET', `/${name}`)).status, 404)
      t.equal((await ask('POST', `/${name}/rotate`, { value: 'x' })).status, 404)
    }
    t.equal((await ask('PUT', '/A/B', { value: 'x' })).status, 404, 'no route')
  }
)

t.test('a value is 1 byte to 64 KiB of text, and a refusal does not repeat it', async (t) => {
  t.equal((await ask('PUT', '/MOST', { value: 'x'.repeat(64 * 1024) })).status, 201)
  const secret = 'a value that nobody may see'
  for (const payload of [
    { value: '' },
    { value: 'ü'.repeat(32 * 1024 + 1) },
    { value: [secret] },
    { value: { secret } },
    { secret },
    { value: `${secret}\u0000` },
    { value: secret, name: 'TOKEN' }
  ]) {
    const { status, body } = await ask('PUT', '/BAD', payload as Body)
    t.match({ status, code: body.code }, { status: 400, code: 'REQUEST_INVALID' })
    t.notOk(JSON.stringify(body).includes(secret))
  }
})

t.test('a grant names one skill or one agent, and hosts by their names', async (t) => {
  await ask('PUT', '/TOKEN', { value: 'x' })
  for (const bad of [
    {},
    { skill: '@acme/weather', agent: 'x' },
    { skill: 'weather' },
    { skill: '@acme/../x' },
    { agent: '' },
    { agent: 'x', hosts: [] },
    { agent: 'x', hosts: ['*.example.com'] },
    { agent: 'x', hosts: ['https://example.com'] },
    { agent: 'x', hosts: ['127.0.0.1'] },
    { agent: 'x', scope: 'y' }
  ])
    t.equal((await ask('PUT', '/TOKEN/grants', bad)).status, 400, JSON.stringify(bad))
  for (const query of ['', '?skill=@a/b&agent=x', '?grantee=x'])
    t.equal((await ask('DELETE', `/TOKEN/grants${query}`)).status, 400)
  t.equal((await ask('PUT', '/ABSENT/grants', { agent: 'x' })).status, 404)
})

t.test(
  'a rotation that is sent twice with one key happens once, and its digest in the database is keyed',
  async (t) => {
    await ask('PUT', '/TWICE', { value: 'first' })
    const headers = { ...a.headers, 'idempotency-key': 'rotate-once' }
    const first = await ask('POST', '/TWICE/rotate', { value: 'second' }, headers)
    const again = await ask('POST', '/TWICE/rotate', { value: 'second' }, headers)
    t.equal(again.headers['idempotency-replayed'], 'true')
    t.strictSame(again.body, first.body)
    t.equal(first.body.version, 2)
    t.equal((await ask('POST', '/TWICE/rotate', { value: 'other' }, headers)).status, 422)
    const own = app.vault.fingerprint(a.tenantId, 'TWICE', new Secret('second'))
    t.ok(own.equals(app.vault.fingerprint(a.tenantId, 'TWICE', new Secret('second'))))
    t.notOk(own.equals(app.vault.fingerprint(b.tenantId, 'TWICE', new Secret('second'))), "another tenant's is another")
  }
)

t.test('secrets are listed in pages, newest first; of other tenants nothing is seen or reached', async (t) => {
  const c = await server.makeTenant()
  for (const name of ['ONE', 'TWO', 'THREE']) await ask('PUT', `/${name}`, { value: name }, c.headers)
  const names: string[] = []
  for (let cursor = ''; ; ) {
    const { body } = await ask('GET', `?limit=2${cursor}`, undefined, c.headers)
    names.push(...body.data.map(({ name }: { name: string }) => name))
    if (body.nextCursor === null) break
    cursor = `&cursor=${body.nextCursor}`
  }
  t.strictSame(names, ['THREE', 'TWO', 'ONE'])
  for (const [method, path, payload] of [
    ['GET', '', undefined],
    ['DELETE', '', undefined],
    ['POST', '/rotate', { value: 'x' }],
    ['PUT', '/grants', { agent: 'x' }],
    ['DELETE', '/grants?agent=x', undefined]
  ] as const) {
    const { body: foreign } = await ask(method, `/ONE${path}`, payload, b.headers)
    const { body: absent } = await ask(method, `/NONE${path}`, payload, b.headers)
    t.equal(foreign.status, 404, `${method} ${path}`)
    t.strictSame({ ...foreign, requestId: '' }, { ...absent, requestId: '' })
  }
})

t.test('reading and writing are permissions of their own', async (t) => {
  const reader = { authorization: (await server.makeKey(a.tenantId, ['secrets:read'])).authorization }
  const writer = { authorization: (await server.makeKey(a.tenantId, ['secrets:write'])).authorization }
  t.equal((await ask('PUT', '/TOKEN', { value: 'x' }, reader)).status, 403)
  t.equal((await ask('GET', '', undefined, writer)).status, 403)
  t.equal((await ask('PUT', '/TOKEN', { value: 'x' }, writer)).status, 200)
  t.equal((await ask('GET', '/TOKEN', undefined, reader)).status, 200)
})
