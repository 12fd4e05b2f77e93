import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { verifyFile as verifyByClient } from '#clients/cli/audit-file.ts'
import { auditAll } from '#core/audit/audit.ts'
import { verifyFile } from '#core/audit/file.ts'
import { chainOf, fileOf, keyOf, linesOf, tampered } from '#core/audit/test/support.ts'
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
  const { app, db, sql, makeTenant } = await testApp(t)
  const { tenantId, key } = await makeTenant()
  const note = (n: number) => ({ action: 'note.written', subject: `note:${n}` })
  await db.tenant(tenantId, (tx) => auditAll(tx, [1, 2, 3, 4].map(note)))
  await app.audit.sealer.run()
  const env = { AGENTOS_URL: await app.listen({ port: 0, host: '127.0.0.1' }), AGENTOS_TOKEN: key }
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

  await t.test('online asks the server and verifies its export as well', async (t) => {
    t.match(await agentos(t, ['audit', 'verify'], env), {
      code: 0,
      out: new RegExp(`^ok: 4 rows.*\nthe export holds too: 4 rows, signed by the key ${id}\n$`)
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
