import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { verifyFile as verifyByClient } from '#clients/cli/audit-file.ts'
import { auditAll } from '#core/audit/audit.ts'
import { verifyFile } from '#core/audit/file.ts'
import { AuditLog } from '#core/audit/service.ts'
import { chainOf, fileOf, keyOf, linesOf, tampered } from '#core/audit/test/support.ts'
import { systemClock } from '#core/clock.ts'
import { testApp } from '#test/support/app.ts'
import { runNode } from '#test/support/run-node.ts'

const [key, other] = [keyOf(1), keyOf(2)]

t.test("the client's own verifier says what the server's says, of every tampered file", async (t) => {
  const good: [string, string[]][] = [0, 1, 5].map((size) => [`${size} rows`, fileOf(chainOf(size, key), key)])
  for (const [name, lines] of [...good, ...tampered(key, other)]) {
    for (const trusted of [undefined, key.id, key.publicKey]) {
      t.strictSame(await verifyByClient(linesOf(lines), trusted), await verifyFile(linesOf(lines), trusted), name)
    }
  }
})

async function agentos(t: Test, args: string[], env: Record<string, string> = {}) {
  const program = runNode(t, 'clients/cli/agentos.js', args, { AGENTOS_HOME: '/nowhere', ...env })
  const { code } = await program.ended
  return { code, out: program.stdout(), err: program.stderr() }
}

t.test('agentos audit verify', async (t) => {
  const { app, db, sql, secrets, makeTenant } = await testApp(t)
  const { tenantId, key } = await makeTenant()
  const note = (n: number) => ({ action: 'note.written', subject: `note:${n}` })
  await db.tenant(tenantId, (tx) => auditAll(tx, [1, 2, 3, 4].map(note)))
  await app.audit.sealer.run()
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const env = { AGENTOS_URL: url, AGENTOS_TOKEN: key }
  const file = join(t.testdir(), 'audit.ndjson')
  t.equal((await agentos(t, ['audit', 'export', '-o', file], env)).code, 0)
  const { id } = app.audit.key

  await t.test('of an export asks nobody, and names the key where none is trusted', async (t) => {
    const { code, out } = await agentos(t, ['audit', 'verify', file])
    t.equal(code, 0)
    t.match(out, new RegExp(`^ok: 4 rows of tenant ${tenantId}, sealed through 4, .*\n.*${id}: compare it`))
    t.match(await agentos(t, ['audit', 'verify', file, '--key', id]), { code: 0, out: new RegExp(`the key ${id}\n$`) })
    const stranger = await agentos(t, ['audit', 'verify', file, '--key', other.id])
    t.match(stranger, { code: 1, out: /FAILED: 1 fault; the first: .* not the one that you trust\n$/ })
    t.match(JSON.parse((await agentos(t, ['audit', 'verify', file, '--json'])).out), { ok: true, entries: 4 })
  })

  await t.test('of a tampered export is 1 and one line that names the row', async (t) => {
    const lines = (await readFile(file, 'utf8')).split('\n')
    const bad = join(t.testdir(), 'bad.ndjson')
    await writeFile(bad, lines.map((line) => line.replace('note:3', 'note:9')).join('\n'))
    t.match(await agentos(t, ['audit', 'verify', bad]), {
      code: 1,
      out: /^FAILED: 1 fault; the first: row 3 \(.*note\.written\) is not what was sealed\n$/
    })
    await writeFile(bad, lines.slice(0, 3).join('\n'))
    t.match(await agentos(t, ['audit', 'verify', bad]), {
      code: 1,
      out: /^FAILED: 2 faults; the first: the chain was cut: row 2/
    })
    t.match(await agentos(t, ['audit', 'verify', '/nowhere/at/all']), {
      code: 2,
      out: '',
      err: /^agentos: .* cannot be read \(ENOENT\): name a file/
    })
  })

  await t.test('--since tells a chain that was set back to an earlier end, whole in itself', async (t) => {
    const { tenantId, key } = await makeTenant()
    const env = { AGENTOS_URL: url, AGENTOS_TOKEN: key }
    const dir = t.testdir()
    const [file, later, cut] = [join(dir, 'file'), join(dir, 'later'), join(dir, 'cut')]
    await db.tenant(tenantId, (tx) => auditAll(tx, [1, 2, 3, 4].map(note)))
    await app.audit.sealer.run()
    t.equal((await agentos(t, ['audit', 'export', '-o', file], env)).code, 0)
    const before = JSON.parse((await agentos(t, ['audit', 'verify', '--json'], env)).out).export
    const head = `${before.sealedThrough}:${before.hash}`
    await db.tenant(tenantId, (tx) => auditAll(tx, [5, 6].map(note)))
    await app.audit.sealer.run()
    t.equal((await agentos(t, ['audit', 'export', '-o', later], env)).code, 0)
    for (const since of [file, head, later]) {
      t.match(await agentos(t, ['audit', 'verify', '--since', since], env), { code: 0, out: /^ok: 6 rows/ })
    }
    t.match(await agentos(t, ['audit', 'verify', later, '--since', head]), { code: 0 })
    const back = /; the first: the chain ends with row 4 and went on to row 6 before\n$/
    t.match(await agentos(t, ['audit', 'verify', file, '--since', later]), { code: 1, out: back })
    const other = `4:${'0'.repeat(64)}`
    const changed = /; the first: row 4 is not the one that stood there before\n$/
    t.match(await agentos(t, ['audit', 'verify', '--since', other], env), { code: 1, out: changed })
    t.match(await agentos(t, ['audit', 'verify', later, '--since', other]), { code: 1, out: changed })
    t.match(await agentos(t, ['audit', 'verify', later, '--since', '4:abc']), { code: 2, err: /cannot be read/ })
    await writeFile(cut, (await readFile(later, 'utf8')).split('\n').slice(0, 3).join('\n'))
    t.match(await agentos(t, ['audit', 'verify', '--since', cut], env), { code: 1, err: /does not hold itself: / })
    await sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx`delete from audit.seal where tenant_id = ${tenantId} and seq > 4`
      await tx`delete from audit.entry where tenant_id = ${tenantId} and subject in ('note:5', 'note:6')`
    })
    // A server that started afterwards remembers nothing: the two rows are gone without a trace in the database.
    const fresh = new AuditLog({ db, clock: systemClock, keySeed: secrets.auditKeySeed })
    t.equal((await fresh.verify({ tenantId })).ok, true)
    const known = { seq: 6, hash: JSON.parse((await readFile(later, 'utf8')).trim().split('\n').at(-2) ?? '').hash }
    t.match(await fresh.verify({ tenantId }, known), {
      ok: false,
      known: { stands: false },
      faults: [{ seq: 6, what: /went on to row 6/ }]
    })
  })

  await t.test('online asks the server and verifies its export as well', async (t) => {
    t.match(await agentos(t, ['audit', 'verify'], env), {
      code: 0,
      out: new RegExp(`^ok: 4 rows.*\nthe export holds too: 4 rows through 4:[0-9a-f]{64}, signed by the key ${id}\n$`)
    })
    await sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx`update audit.entry set subject = 'note:9' where subject = 'note:2'`
    })
    t.match(await agentos(t, ['audit', 'verify'], env), {
      code: 1,
      out: /^FAILED: 1 fault; the first: row 2 \(.*\) is not what was sealed\n$/
    })
  })
})
