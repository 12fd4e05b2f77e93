import { createHash } from 'node:crypto'
import t from 'tap'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'

const { app, db, sql, lines, log, makeTenant, auth } = await testApp(t)
const { tenantId, headers } = await makeTenant()
const canaries = ['canary-one "quoted" /=+ äö', 'canary-two-in-a-rotation', 'canary-three-that-is-put-again']

/** Every form in which a value could stand somewhere: as it is, escaped, encoded, digested without a key. */
const forms = canaries.flatMap((value) => [
  value,
  JSON.stringify(value).slice(1, -1),
  encodeURIComponent(value),
  ...(['base64', 'base64url', 'hex'] as const).flatMap((encoding) => [
    Buffer.from(value).toString(encoding).replace(/=+$/, ''),
    createHash('sha256').update(value).digest(encoding).replace(/=+$/, '')
  ])
])
const found = (text: string) => forms.filter((form) => text.toLowerCase().includes(form.toLowerCase()))
const answers: string[] = []

async function ask(
  method: 'GET' | 'PUT' | 'POST' | 'DELETE',
  path: string,
  payload?: object | string,
  more: object = {}
) {
  const answer = await app.inject({
    method,
    url: `/v1/secrets${path}`,
    headers: { ...headers, ...(typeof payload === 'string' ? { 'content-type': 'application/json' } : {}), ...more },
    ...(payload ? { payload } : {})
  })
  answers.push(`${answer.body} ${JSON.stringify(answer.headers)}`)
}

t.test('the search finds a canary in each of its forms', async (t) => {
  t.equal(found(`x${Buffer.from(must(canaries[1], 'a canary')).toString('hex').toUpperCase()}x`).length, 1)
  t.equal(new Set(forms.flatMap((form) => found(`"${form}"`))).size, new Set(forms).size)
})

t.test('a value is in no answer, log line, row of any table or digest', async (t) => {
  const [one = '', two = '', three = ''] = canaries
  await ask('PUT', '/TOKEN', { value: one })
  await ask('PUT', '/TOKEN/grants', { skill: '@acme/weather' })
  await ask('POST', '/TOKEN/rotate', { value: two }, { 'idempotency-key': 'canary' })
  await ask('POST', '/TOKEN/rotate', { value: two }, { 'idempotency-key': 'canary' })
  await ask('POST', '/TOKEN/rotate', { value: three }, { 'idempotency-key': 'canary' })
  await ask('PUT', '/TOKEN', { value: three, extra: one })
  await ask('PUT', '/bad name', { value: three })
  await ask('PUT', '/TOKEN', { value: { value: one } })
  await ask('POST', '/ABSENT/rotate', { value: three })
  // A parser likes to quote what it could not read.
  for (const body of [
    `${two}`,
    `{"value": ${two}}`,
    `{"value": "${two}" "x"}`,
    `{"value": "x", ${two}`,
    `{"value": "${two}`
  ])
    await ask('PUT', '/TOKEN', body)
  await ask('GET', '')
  await ask('GET', '/TOKEN')
  const revealed = await db.tenant(tenantId, (tx) => app.vault.reveal(tx, 'TOKEN', { skill: '@acme/weather' }))
  t.equal(revealed.reveal(), two)
  const previous = await db.tenant(tenantId, (tx) =>
    app.vault.reveal(tx, 'TOKEN', { skill: '@acme/weather' }, 'previous')
  )
  t.equal(previous.reveal(), one)
  log.error({ err: new Error(`the provider said: ${revealed.reveal()}`), revealed }, `with ${revealed.reveal()}`)
  t.ok(lines.at(-1)?.includes('the provider said: [secret]'), 'a revealed value is known to the scrubber')
  // The database refuses what is too long, and its error quotes the row.
  await db.tenant(tenantId, (tx) => app.vault.put(tx, 'TOO-BAD', new Secret(three))).catch((error) => log.error(error))
  await db
    .tenant(tenantId, (tx) => app.vault.reveal(tx, 'TOKEN', { agent: 'nobody' }))
    .catch((error) => log.error(error))
  await sql`update vault.secret set sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1) where tenant_id = ${tenantId}`
  await db
    .tenant(tenantId, (tx) => app.vault.reveal(tx, 'TOKEN', { skill: '@acme/weather' }))
    .catch((error) => log.error(error))
  await ask('PUT', '/TOKEN', { value: three })
  await auth.settle()

  t.strictSame(answers.flatMap(found), [])
  t.strictSame(found(lines.join('')), [])
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')`
  let rows = 0
  for (const { name } of tables) {
    const all = await sql.unsafe<{ row: string }[]>(`select r::text as row from ${name} r`)
    rows += all.length
    t.strictSame(
      all.flatMap(({ row }) => found(row)),
      [],
      name
    )
  }
  t.ok(rows > 10, `${rows} rows of ${tables.length} tables`)
  t.ok((await sql`select 1 from core.idempotency where key = 'canary'`).count === 1, 'a digest of it was kept')
})
