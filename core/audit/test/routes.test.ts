import { Readable } from 'node:stream'
import t from 'tap'
import { audit, auditAll } from '#core/audit/audit.ts'
import { verifyFile } from '#core/audit/file.ts'
import { testApp } from '#test/support/app.ts'

const server = await testApp(t)
const { app, db, sql } = server
const [a, b] = [await server.makeTenant(), await server.makeTenant()]
const get = async (url: string, who = a) => {
  const answer = await app.inject({ url, headers: who.headers })
  return { status: answer.statusCode, body: answer.json() }
}
const key = { kind: 'key', id: 'k:1', requestId: 'r1', from: '203.0.113.9' } as const

await db.tenant({ tenantId: a.tenantId, actor: key }, (tx) =>
  auditAll(tx, [
    { action: 'key.created', subject: 'key:1', after: { n: 1 }, details: { name: 'first' } },
    { action: 'key.renamed', subject: 'key:1', before: { n: 1 }, after: { n: 2 } },
    { action: 'keyring.made', subject: 'keyring:1' }
  ])
)
await db.tenant(a.tenantId, (tx) => audit(tx, { action: 'job.ran', subject: 'job:1' }))
await db.tenant(b.tenantId, (tx) => audit(tx, { action: 'other.done', subject: 'other:1' }))

t.test('the log is read newest first, by any of its sides, and nobody else’s', async (t) => {
  const subjects = async (query: string) => {
    const { status, body } = await get(`/v1/audit?${query}`)
    return status === 200 ? body.data.map((row: { action: string }) => row.action) : body.code
  }
  t.strictSame(await subjects(''), ['job.ran', 'keyring.made', 'key.renamed', 'key.created'])
  t.strictSame(await subjects('action=key.renamed'), ['key.renamed'])
  t.strictSame(await subjects('action=key.*'), ['key.renamed', 'key.created'])
  t.strictSame(await subjects('subject=key:1'), ['key.renamed', 'key.created'])
  t.strictSame(await subjects('actor=key'), ['keyring.made', 'key.renamed', 'key.created'])
  t.strictSame(await subjects('actor=key:k:1&action=key.created'), ['key.created'])
  t.strictSame(await subjects('actor=system:agentos'), ['job.ran'])
  t.strictSame(await subjects('actor=user:nobody'), [])
  const { body } = await get('/v1/audit?limit=2')
  t.strictSame(await subjects('from=2100-01-01T00:00:00Z'), [])
  t.strictSame(await subjects('to=2020-01-01T00:00:00Z'), [])
  t.equal((await subjects('from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z')).length, 4)
  t.strictSame(await subjects(`cursor=${body.nextCursor}`), ['key.renamed', 'key.created'], 'the next page')
  for (const bad of ['actor=root', 'action=Key', 'from=yesterday', 'limit=201', 'cursor=x', 'tenantId=1', 'subject=']) {
    t.match(await subjects(bad), /^(REQUEST_INVALID|CURSOR_INVALID|.*INVALID.*)$/, bad)
  }
  t.strictSame(
    (await get('/v1/audit', b)).body.data.map((row: { action: string }) => row.action),
    ['other.done']
  )
})

t.test('a row tells who, what, through which request and from where, and no value', async (t) => {
  const row = (await get('/v1/audit?action=key.renamed')).body.data[0]
  t.match(row, {
    actor: { kind: 'key', id: 'k:1' },
    requestId: 'r1',
    from: '203.0.113.9',
    subject: 'key:1',
    seq: null,
    details: {}
  })
  t.match([row.before, row.after], [/^sha256:[0-9a-f]{64}$/, /^sha256:[0-9a-f]{64}$/])
  t.not(row.before, row.after)
  const made = (await get('/v1/audit?action=key.created')).body.data[0]
  t.equal(made.after, row.before, 'the same thing has the same digest')
  t.equal(made.before, null)
})

t.test('verify says how far the chain is sealed, and with which key', async (t) => {
  t.match((await get('/v1/audit/verify')).body, {
    ok: true,
    sealedThrough: 0,
    entries: 4,
    unsealed: 4,
    head: null,
    firstFault: null
  })
  await server.app.audit.sealer.run()
  const { body } = await get('/v1/audit/verify')
  t.match(body, { ok: true, sealedThrough: 4, entries: 4, unsealed: 0, faults: 0, firstFault: null, head: { seq: 4 } })
  t.equal(body.key.id, server.app.audit.key.id)
  t.equal(body.known, null)
  const { seq, hash } = body.head
  t.match((await get(`/v1/audit/verify?seq=${seq}&hash=${hash}`)).body, {
    ok: true,
    known: { seq, hash, stands: true }
  })
  const says = async (query: string) => (await get(`/v1/audit/verify?${query}`)).body
  t.match(await says(`seq=5&hash=${hash}`), {
    ok: false,
    known: { seq: 5, stands: false },
    firstFault: { seq: 5, what: 'the chain ends with row 4 and went on to row 5 before' }
  })
  t.match(await says(`seq=3&hash=${hash}`), { ok: false, firstFault: { seq: 3, what: /not the one that stood there/ } })
  for (const bad of ['seq=4', `hash=${hash}`, `seq=0&hash=${hash}`, 'seq=4&hash=x', `seq=4&hash=${hash}&x=1`]) {
    t.equal((await get(`/v1/audit/verify?${bad}`)).status, 400, bad)
  }
  t.strictSame(
    (await get('/v1/audit')).body.data.map((row: { seq: number }) => row.seq),
    [4, 3, 2, 1]
  )
})

t.test('an export is verified by its lines alone', async (t) => {
  await db.tenant(a.tenantId, (tx) =>
    auditAll(
      tx,
      Array.from({ length: 2500 }, (_, n) => ({ action: 'note.written', subject: `note:${n}` }))
    )
  )
  await server.app.audit.sealer.run()
  await db.tenant(a.tenantId, (tx) => audit(tx, { action: 'note.written', subject: 'note:unsealed' }))
  const answer = await app.inject({ url: '/v1/audit/export', headers: a.headers })
  t.equal(answer.headers['content-type'], 'application/x-ndjson')
  const lines = answer.body.trimEnd().split('\n')
  const report = await verifyFile(Readable.from(lines), server.app.audit.key.id)
  t.match(report, { ok: true, tenantId: a.tenantId, sealedThrough: 2504, entries: 2504, unsealed: 1, faults: [] })
  t.notOk(answer.body.includes(b.tenantId))
  const empty = await app.inject({ url: '/v1/audit/export', headers: (await server.makeTenant()).headers })
  t.match(await verifyFile(Readable.from(empty.body.trimEnd().split('\n'))), { ok: true, entries: 0 })
})

t.test('whatever a superuser does to sealed rows is found', async (t) => {
  const asSuperuser = async (text: string) => {
    await sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx.unsafe(text)
    })
    return (await get('/v1/audit/verify')).body
  }
  const entry = `(select entry_id from audit.seal where tenant_id = '${a.tenantId}' and seq = 7)`
  t.match(await asSuperuser(`update audit.entry set actor_id = 'x' where id = ${entry}`), {
    ok: false,
    faults: 1,
    firstFault: { seq: 7, what: /not what was sealed/ }
  })
  t.match(await asSuperuser(`delete from audit.entry where id = ${entry}`), {
    faults: 1,
    firstFault: { seq: 7, what: /row 7 .* was deleted/ }
  })
  t.match(await asSuperuser(`delete from audit.seal where tenant_id = '${a.tenantId}' and seq = 6`), {
    faults: 3,
    firstFault: { seq: 6, what: /row 6 is missing/ }
  })
  const swap = `update audit.seal set seq = case seq when 11 then -12 else -11 end where tenant_id = '${a.tenantId}' and seq in (11, 12)`
  await sql`alter table audit.seal drop constraint seal_seq_check`
  t.match(await asSuperuser(`${swap}; update audit.seal set seq = -seq where seq < 0`), { faults: 6 })
  t.match(
    await asSuperuser(
      `update audit.seal set signature = sha256('x') || sha256('y') where tenant_id = '${a.tenantId}' and seq = 2504`
    ),
    { faults: 7 }
  )
})

t.test('who may not read the log does not', async (t) => {
  const { authorization } = await server.makeKey(a.tenantId, ['keys:read'])
  for (const path of ['', '/verify', '/export']) {
    t.equal((await app.inject({ url: `/v1/audit${path}`, headers: { authorization } })).statusCode, 403)
  }
})
