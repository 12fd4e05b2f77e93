import { createHash, randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { newId } from '#core/ids.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { Secret } from '#core/secret.ts'
import { notExported, omitted, sourcesOf } from '#core/tenants/export/sources.ts'
import { until } from '#test/support/until.ts'
import { fullDb } from '#test/tenancy/support/full-db.ts'
import { teamApp } from './support.ts'

const url = '/v1/tenant/export'
// biome-ignore lint/suspicious/noExplicitAny: lines of every shape
type Line = any

function parse(text: string): { lines: Line[]; end: Line; intact: boolean } {
  const at = text.lastIndexOf('\n', text.length - 2) + 1
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
  const end = lines.at(-1)
  const intact = end?.end === true && end.sha256 === createHash('sha256').update(text.slice(0, at)).digest('hex')
  return { lines, end, intact }
}

t.test('every table with rows of a tenant is exported, or is on the list with a reason', async (t) => {
  const { db, sql } = await fullDb(t)
  const sources = await db.tenant(newId(), sourcesOf)
  const exported = sources.map(({ table }) => table)
  const owned = await sql<{ table: string; columns: string[] }[]>`
    select format('%I.%I', table_schema, table_name) as table, array_agg(column_name::text) as columns
    from information_schema.columns where table_schema not in ('pg_catalog', 'information_schema')
    group by 1 having bool_or(column_name = 'tenant_id')`
  const names = owned.map(({ table }) => table)
  const left = names.filter((name) => !exported.includes(name) && !(name in notExported))
  t.strictSame(left, [], 'nothing is forgotten')
  t.strictSame(
    Object.keys(notExported).filter((name) => !names.includes(name) || exported.includes(name)),
    [],
    'nor listed in vain'
  )
  for (const [table, columns] of Object.entries(omitted)) {
    const there = owned.find((one) => one.table === table)?.columns ?? []
    t.strictSame(
      columns.filter((column) => !there.includes(column)),
      [],
      table
    )
    const kept = sources.find((one) => one.table === table)?.columns ?? []
    t.strictSame(
      columns.filter((column) => kept.includes(column)),
      [],
      table
    )
  }
  t.ok(exported.includes('pgboss.job_common'), 'and what has no tenant_id: jobs')
})

t.test(
  "an owner's export is all of the tenant's, with its objects, and nothing of anybody else or of any secret",
  async (t) => {
    const dir = t.testdir()
    const objects = new FileObjectStore({ dir })
    const { app, ask, makeTenant, user, actions, db, operator } = await teamApp(t, { parts: () => ({ objects }) })
    const [mine, theirs] = [await makeTenant({ name: 'canary-mine' }), await makeTenant({ name: 'canary-theirs' })]
    const { tenantId } = mine
    const [owner, admin] = [await user('olga', tenantId, 'owner'), await user('ada', tenantId, 'admin')]
    const bytes = randomBytes(500_000)
    const [large, empty, damaged] = [
      await objects.put(tenantId, bytes),
      await objects.put(tenantId, Buffer.alloc(0)),
      await objects.put(tenantId, Buffer.from('whole'))
    ]
    await objects.put(theirs.tenantId, Buffer.from('canary-theirs'))
    const hex = damaged.digest.slice(7)
    await writeFile(join(dir, tenantId, hex.slice(0, 2), hex), 'other')
    const secret = 'hunter2-hunter2-hunter2'
    await db.tenant(tenantId, (tx) => app.vault.put(tx, 'API_KEY', new Secret(secret)))
    const { body } = await ask('POST', '/v1/invitations', owner, { email: 'n@example.com', role: 'viewer' })

    for (const who of [admin, { headers: { ...operator.headers, 'agentos-tenant': tenantId } }]) {
      t.equal((await ask('GET', url, who)).status, 403)
    }
    const answer = await app.inject({ url, headers: owner.headers })
    t.equal(answer.headers['content-type'], 'application/x-ndjson')
    const { lines, end, intact } = parse(answer.body)
    t.ok(intact, 'the sum fits')
    t.match(lines[0], { export: 1, tenantId, slug: mine.slug })
    const rows = lines.filter((line) => 'table' in line)
    t.equal(end.rows, rows.length)
    t.strictSame([...new Set(rows.map(({ row }) => row.tenant_id ?? row.data?.tenantId))], [tenantId])
    for (const table of [
      'core.tenants',
      'core.member',
      'core.api_key',
      'core.invitation',
      'vault.secret',
      'audit.entry'
    ]) {
      t.ok(
        rows.some((line) => line.table === table),
        table
      )
    }
    t.notOk(answer.body.includes('canary-theirs'))
    for (const text of [mine.key, secret, body.token]) t.notOk(answer.body.includes(text))
    t.match(rows.find((line) => line.table === 'vault.secret')?.row, { name: 'API_KEY', sealed: undefined })
    t.equal(rows.find((line) => line.table === 'core.api_key')?.row.hash, undefined)
    const parts = lines.filter((line) => line.object === large.digest)
    t.strictSame(Buffer.concat(parts.map(({ base64 }) => Buffer.from(base64, 'base64'))), bytes)
    t.ok(parts.length > 1)
    t.match(
      lines.filter((line) => line.object === empty.digest),
      [{ base64: '', part: 0 }]
    )
    t.match(
      lines.findLast((line) => line.object === damaged.digest),
      { error: 'OBJECTS_CORRUPT' }
    )
    t.ok((await actions(tenantId)).includes('tenant.exported'))
    await rm(dir, { recursive: true })
  }
)

t.test('a big export is one moment, waits for its reader, and is seen to be cut off', async (t) => {
  const { app, makeTenant, sql, lines: log } = await teamApp(t)
  const { tenantId, headers } = await makeTenant()
  const count = 4000
  await sql`
    insert into core.journal (tenant_id, actor_id, key, record, epoch)
    select ${tenantId}, gen_random_uuid(), 'step:' || n, jsonb_build_object('text', repeat(md5(n::text), 300)), 1
    from generate_series(1, ${count}) n`
  const base = await app.listen({ port: 0, host: '127.0.0.1' })
  const begin = async () => {
    const response = await fetch(base + url, { headers })
    const reader = response.body?.getReader()
    if (!reader) throw new Error('no body')
    const first = Buffer.from((await reader.read()).value ?? []).toString()
    return {
      first,
      rest: async () => {
        let text = first
        for (;;) {
          const { done, value } = await reader.read()
          if (done) return text
          text += Buffer.from(value).toString()
        }
      }
    }
  }
  const one = await begin()
  const second = await fetch(base + url, { headers })
  t.equal(second.status, 429, 'one at a time')
  t.equal(second.headers.get('retry-after'), '30')
  await sql`insert into core.journal (tenant_id, actor_id, key, record, epoch) values (${tenantId}, gen_random_uuid(), 'late', '{}', 1)`
  const waits = async () =>
    (await sql`select 1 from pg_stat_activity where state = 'idle in transaction' and query like 'fetch%'`).length === 1
  await until(waits, 'it waits for its reader, long before the end')
  const { lines, intact } = parse(await one.rest())
  t.ok(intact)
  const journal = lines.filter((line) => line.table === 'core.journal')
  t.equal(journal.length, count)
  t.notOk(
    journal.some(({ row }) => row.key === 'late'),
    'what came meanwhile is not of that moment'
  )

  const cut = await begin()
  await until(async () => {
    const gone =
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'fetch%'`
    return gone.length > 0
  }, 'its connection is cut')
  const text = await cut.rest().catch(() => cut.first)
  t.notMatch(text, /"end":true/, 'no end line')
  await until(() => log.some((line) => line.includes('an export was cut off')), 'it is in the log')
  await sql`delete from core.journal`
  t.ok(parse(await (await begin()).rest()).intact, 'and the next one begins')
})
